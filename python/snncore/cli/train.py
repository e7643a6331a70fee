"""``snncore-train``: command line -> configuration -> ``snncore.train.fit``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import SnncoreError

__all__ = ["main"]

_DESCRIPTION = """\
Train a spiking neural network. Without any argument: a small convolutional net on handwritten digits that come
with the package, in a few seconds. The defaults below are those of that run; another model or data set brings
others along (--show-config shows them)."""

_EPILOG = """\
which value counts (a later one wins):
  packaged defaults < --preset < data set < model < model on data set < neuron < neuron in model
  < the run of --resume PATH < --config FILE < the command line
  --show-config prints every value and which of these it came from. --preset chooses a family of presets: "published",
  which has what each net was published with, or "soul", the configuration of the SOUL scripts (base, neurons, models,
  data sets). The settings of a run that is resumed are whole, so presets do not come under them.

examples:
  snncore-train
  snncore-train --model csnn --dataset fashion_mnist --data-root ~/data -T 4 --channels 32 -b 64 --epochs 3
  snncore-train --model mlp --dataset mnist --data-root ~/data
  snncore-train --model spikformer_4_384 --dataset cifar10 --data-root ~/data --amp bf16
  snncore-train --model sew_resnet18 --dataset image_folder --data-root ~/imagenet -j 8 --mixup-alpha 0.2
  snncore-train --preset soul --model spiking_vgg11_bn --neuron plif --data-root ~/data
  snncore-train --crop 8 --crop-padding 1 --random-erase 0.1
  snncore-train --dataset cifar10 --data-root ~/data --crop none --crop-padding 0        without a preset's crop
  snncore-train --neuron lif --set neuron.args.tau=3.0 --set neuron.args.detach_reset=true
  snncore-train --show-config > my.yaml        then edit it, and: snncore-train --config my.yaml
  snncore-train --resume logs/digits_csnn_if_T4
  torchrun --nproc-per-node 2 -m snncore.cli.train -b 128        two processes share each batch of 128
  torchrun --nproc-per-node 2 -m snncore.cli.train --parallel fsdp --checkpoint-activations      larger nets
  torchrun --nproc-per-node 2 --max-restarts 3 -m snncore.cli.train --resume auto --save-every-steps 500

a run writes into a new folder: config.yaml, log.txt, metrics.jsonl, last.pt, best.pt (with --model-ema best_ema.pt
too, the best averaged weights) and TensorBoard files.
Ctrl-C ends it after the step at hand (exit code 130); --resume FOLDER then goes on as if it had never stopped,
and likewise after a crash. Resuming keeps the settings; only these may be changed: device, threads, engine, how
it is computed (--compile, --checkpoint-activations, --parallel, the number of ranks), data root, workers, which
checkpoints are kept, how energy is counted, and the number of epochs unless the schedule is cosine or weights are
averaged (--model-ema). The folder stays.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 a mistake to be corrected, 130 stopped by Ctrl-C.

    Args:
        argv: the arguments; those of the process by default.
    """
    try:
        return _run(argv)
    except SnncoreError as error:
        print(f"snncore-train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("snncore-train: stopped at once; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130


def _run(argv: Sequence[str] | None) -> int:
    # Here, not above, and the core first: what is wrong with it or with torch is told in one line like any mistake.
    from ..ops import build_info  # isort: skip
    from ..config import dump_yaml, flatten, load_yaml
    from ..train import Config, fit, resolve
    from ..train.without_effect import TYPED
    from .flags import Parser, add_flags, typed

    parser = Parser(prog="snncore-train", description=_DESCRIPTION, epilog=_EPILOG, add_help=False)
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this text and exit")
    general.add_argument("--version", action="store_true", help="show versions of snncore and torch and exit")
    general.add_argument("--config", metavar="FILE", help="YAML file of settings, as --show-config prints them")
    general.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any setting by its name, as model.T=8 or neuron.args.tau=3.0; may be given often",
    )
    general.add_argument("--show-config", action="store_true", help="print every setting and its source, and exit")
    add_flags(parser, Config, flatten(resolve().config))
    found = parser.parse(argv)
    if found.version:
        b = build_info()
        print(f"snncore {b['version']} (torch {b['torch']}, Python {b['python']}, CUDA kernels: {b['cuda']})")
        return 0

    layers = [(found.config, load_yaml(found.config))] if found.config else []
    merged = resolve([*layers, (TYPED, typed(found, found.set))])
    if found.show_config:
        print(dump_yaml(merged.config, merged.sources), end="")
        return 0
    return 130 if fit(merged.config, merged.sources).interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
