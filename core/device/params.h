// Named tensors: every parameter and buffer of model, experts and routers, in one block each for values,
// gradients and optimiser moments. The optimiser, the checkpoint and the initialiser loop over this list
// and know nothing about who declared what.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/device/arena.h"
#include "core/device/exec.h"

namespace swy {

enum class Init { kZero, kConst, kNormal, kTruncNormal, kUniform, kOrthogonal };

struct TensorSpec {
  std::string name;  // unique, for example "block1.experts.w1"
  std::vector<int64_t> shape;
  Init init = Init::kZero;
  float init_scale = 0;   // value, std, std, half-width or gain
  bool trainable = true;  // false: a buffer, no gradient, no optimiser
  bool decay = true;      // weight decay applies
  float lr_scale = 1;
  int64_t copies = 1;  // leading extent whose slices all start from the same numbers (experts)
};

struct Param {
  TensorSpec spec;
  int64_t size = 0;  // elements
  float* value = nullptr;
  float *grad = nullptr, *m = nullptr, *v = nullptr;  // null for buffers
};

class Params {
 public:
  // All values, gradients and moments will lie in host memory, or on that CUDA device.
  Params() = default;
  explicit Params(int device) : values_(device), grads_(device), moments_(device) {}
  // Declares a tensor; the index is its handle. Throws Error (usage) when the name is taken.
  int add(TensorSpec spec);
  // The same for a tensor that several declare: the first one's, when shape and kind agree; else an Error.
  int share(TensorSpec spec);
  // Allocates everything and draws initial values from (seed, name), so a tensor's start depends neither on
  // the order of declaration nor on what else the model has.
  void commit(uint64_t seed);

  Param& operator[](int handle) { return list_[handle]; }
  const Param& operator[](int handle) const { return list_[handle]; }
  const Param* find(const std::string& name) const;
  std::vector<Param>& all() { return list_; }
  const std::vector<Param>& all() const { return list_; }
  void zero_grads(const Exec&);                    // enqueued on a device
  int device() const { return values_.device(); }  // where everything lies; Arena::kHost: in host memory
  int64_t trainable_count() const;                 // elements
  // n numbers between arrays that lie where these do, or to or from host memory. On a device the caller has waited for
  // whatever works on them, and this waits for the copy.
  void copy(int64_t n, const float* from, float* to) const;

 private:
  std::vector<Param> list_;
  Arena values_, grads_, moments_;
};

// Draws `size` numbers by the spec's rule; kOrthogonal wants a matrix.
void initialise(const TensorSpec& spec, uint64_t seed, float* out);

}  // namespace swy
