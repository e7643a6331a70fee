// How many surrogates there are, for checks; names and numbers for Python.
#pragma once

namespace snn {
extern const int kSurrogates;
}
