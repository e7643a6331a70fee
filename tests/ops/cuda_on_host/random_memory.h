// Random numbers, and memory that ends where it says.
#pragma once

#include <stdint.h>
#include <string.h>

#include <vector>

#include "core/codec.h"
#include "ops/neuron_args.h"

namespace snn {
namespace {

struct Random {
  uint64_t state;
  uint64_t bits() {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return int64_t(bits() % uint64_t(n)); }
  bool chance(int percent) { return below(100) < percent; }
  double uniform(double low, double high) { return low + (high - low) * double(bits() >> 11) / 9007199254740992.0; }
  template <class T, size_t n>
  T one_of(const T (&all)[n]) {
    return all[below(n)];
  }
};

// A tensor of exactly so many bytes, `skip` elements beyond an address that 16 divides.
class Memory {
 public:
  Memory(int64_t count, int bytes, int64_t skip = 0) : data_(size_t((count + skip) * bytes + 16)) {
    char* aligned = data_.data() + (-reinterpret_cast<intptr_t>(data_.data()) & 15);
    at_ = aligned + skip * bytes;
    data_.shrink_to_fit();
    size_ = count * bytes;
    memset(at_, 0xcd, size_t(size_));  // outputs start as what no kernel writes
  }
  char* get() { return at_; }
  int64_t size() const { return size_; }

 private:
  std::vector<char> data_;
  char* at_;
  int64_t size_;
};

template <class T>
void put_element(char* to, double value) {
  T x;
  if constexpr (sizeof(T) == 2) {
    x = encode(float(value), static_cast<T*>(nullptr));
  } else {
    x = T(value);
  }
  memcpy(to, &x, sizeof(x));
}

void put(DType dtype, char* to, double value) {
  switch (dtype) {
    case DType::kFloat:
      return put_element<float>(to, value);
    case DType::kDouble:
      return put_element<double>(to, value);
    case DType::kBFloat16:
      return put_element<BFloat16>(to, value);
    case DType::kHalf:
      return put_element<Half>(to, value);
  }
}

}  // namespace
}  // namespace snn
