// A fresh large block is mapped and page-faulted anew by the system, which costs several times the kernel that fills it
// (docs/measurements.md). So the blocks of large outputs are kept for the next output of about that size.
//
// A block returns here only from the deleter that torch runs when the last tensor or view of its storage is gone:
// memory that anybody still sees is never handed out. Kept blocks never hold more bytes than outputs did at their peak,
// so that the process holds at most twice what its outputs need, and in a training loop just what they need.
#include "ops/output_blocks.h"

#include <stdlib.h>

#include <algorithm>
#include <list>
#include <mutex>

#include "ops/tables.h"

// In torch since 2.11; weak, because the library must load beside 2.10.
extern "C" __attribute__((weak)) AOTITorchError torch_from_blob(
    void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides, int64_t storage_offset, int32_t dtype,
    int32_t device_type, int32_t device_index, AtenTensorHandle* out, int32_t layout, const uint8_t* metadata,
    int64_t metadata_size, void (*deleter)(void* data, void* context), void* context);

namespace snn {
namespace {

constexpr size_t kLargeBytes = size_t(1) << 20;

struct Block {
  void* data;
  size_t bytes;
};

class OutputBlocks {
 public:
  // Never destroyed: tensors may outlive every static.
  static OutputBlocks& instance() {
    static OutputBlocks& only = *new OutputBlocks;
    return only;
  }

  Block take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto fits = [&](const Block& b) { return b.bytes >= bytes && b.bytes <= bytes + bytes / 4; };
    auto best = kept_.end();
    for (auto b = kept_.begin(); b != kept_.end(); ++b)
      if (fits(*b) && (best == kept_.end() || b->bytes < best->bytes)) best = b;
    Block block{nullptr, (bytes + 4095) / 4096 * 4096};
    if (best != kept_.end()) {
      block = *best;
      kept_bytes_ -= block.bytes;
      kept_.erase(best);
    } else {
      block.data = aligned_alloc(4096, block.bytes);
      if (!block.data) return block;
    }
    live_bytes_ += block.bytes;
    peak_bytes_ = std::max(peak_bytes_, live_bytes_);
    return block;
  }

  void give_back(Block block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    live_bytes_ -= block.bytes;
    kept_.push_back(block);
    kept_bytes_ += block.bytes;
    shrink_to(enabled_ ? peak_bytes_ : 0);
  }

  void enable(bool on) {
    const std::lock_guard<std::mutex> lock(mutex_);
    enabled_ = on;
    if (!on) shrink_to(0);
  }

  void release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shrink_to(0);
    peak_bytes_ = live_bytes_;
  }

  bool enabled() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return enabled_;
  }

  int64_t kept_bytes() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return int64_t(kept_bytes_);
  }

 private:
  void shrink_to(size_t bytes) {  // the longest unused go first
    while (kept_bytes_ > bytes) {
      free(kept_.front().data);
      kept_bytes_ -= kept_.front().bytes;
      kept_.pop_front();
    }
  }

  std::mutex mutex_;
  std::list<Block> kept_;
  size_t kept_bytes_ = 0, live_bytes_ = 0, peak_bytes_ = 0;
  bool enabled_ = true;
};

void on_storage_gone(void*, void* context) {
  Block* block = static_cast<Block*>(context);
  OutputBlocks::instance().give_back(*block);
  delete block;
}

}  // namespace

bool tensor_from_block(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, int64_t bytes,
                       int32_t dtype, AtenTensorHandle* out) {
  if (size_t(bytes) < kLargeBytes || torch_from_blob == nullptr) return false;
  OutputBlocks& blocks = OutputBlocks::instance();
  if (!blocks.enabled()) return false;
  const Block block = blocks.take(size_t(bytes));
  if (!block.data) return false;  // torch's own allocation will say what there is to say about memory
  Block* context = new Block(block);
  const AOTITorchError error = torch_from_blob(block.data, int64_t(sizes.size()), sizes.data(), strides.data(), 0,
                                               dtype, aoti_torch_device_type_cpu(), -1, out,
                                               aoti_torch_layout_strided(), nullptr, 0, on_storage_gone, context);
  if (error == AOTI_TORCH_SUCCESS) return true;
  on_storage_gone(nullptr, context);
  blocks.enable(false);  // this torch refuses: do not ask again, its refusals take milliseconds
  return false;
}

void set_output_blocks(bool on) { OutputBlocks::instance().enable(on); }
void release_output_blocks() { OutputBlocks::instance().release(); }
int64_t output_blocks_bytes() { return OutputBlocks::instance().kept_bytes(); }

}  // namespace snn
