#include "core/device/params.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy {
namespace {

int64_t element_count(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  return n;
}

// Rows of a [rows, cols] matrix made orthonormal by modified Gram-Schmidt, times gain. REQUIRES rows <= cols.
void orthonormal_rows(float* a, int64_t rows, int64_t cols, float gain) {
  for (int64_t i = 0; i < rows; ++i) {
    float* row = a + i * cols;
    for (int64_t j = 0; j < i; ++j) {
      const float* other = a + j * cols;
      double dot = 0, norm = 0;
      for (int64_t c = 0; c < cols; ++c) dot += row[c] * other[c], norm += other[c] * other[c];
      for (int64_t c = 0; c < cols; ++c) row[c] -= static_cast<float>(dot / norm) * other[c];
    }
    double norm = 0;
    for (int64_t c = 0; c < cols; ++c) norm += row[c] * row[c];
    for (int64_t c = 0; c < cols; ++c) row[c] *= static_cast<float>(1 / std::sqrt(norm));
  }
  for (int64_t i = 0; i < rows * cols; ++i) a[i] *= gain;
}

void draw(const TensorSpec& spec, Random& random, float* out, int64_t n) {
  const float s = spec.init_scale;
  switch (spec.init) {
    case Init::kZero: std::fill(out, out + n, 0.f); break;
    case Init::kConst: std::fill(out, out + n, s); break;
    case Init::kUniform:
      for (int64_t i = 0; i < n; ++i) out[i] = s * (2 * random.uniform() - 1);
      break;
    case Init::kNormal:
      for (int64_t i = 0; i < n; ++i) out[i] = s * random.normal();
      break;
    case Init::kTruncNormal: {
      // Cut at two standard deviations, widened so that the result has std s (the factor is the std of a
      // unit normal cut at +-2), as Flax's LeCun and He initialisers do.
      const float wide = s / 0.87962566103423978f;
      for (int64_t i = 0; i < n; ++i) {
        float z = random.normal();
        while (std::fabs(z) > 2) z = random.normal();
        out[i] = wide * z;
      }
      break;
    }
    case Init::kOrthogonal: {
      const int64_t rows = spec.shape.at(spec.shape.size() - 2), cols = spec.shape.back();
      if (rows <= cols) {
        for (int64_t i = 0; i < n; ++i) out[i] = random.normal();
        orthonormal_rows(out, rows, cols, s);
        break;
      }
      std::vector<float> across(static_cast<size_t>(n));  // more rows than columns: the columns are orthonormal
      for (float& v : across) v = random.normal();
      orthonormal_rows(across.data(), cols, rows, s);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) out[r * cols + c] = across[static_cast<size_t>(c * rows + r)];
      break;
    }
  }
}

}  // namespace

void initialise(const TensorSpec& spec, uint64_t seed, float* out) {
  Random random(child_seed(seed, spec.name));
  const int64_t n = element_count(spec.shape), one = n / spec.copies;
  if (n == 0) return;
  draw(spec, random, out, one);
  for (int64_t c = 1; c < spec.copies; ++c) std::memcpy(out + c * one, out, one * sizeof(float));
}

int Params::add(TensorSpec spec) {
  if (find(spec.name)) usage_error("two tensors are named '", spec.name, "'; names must differ");
  const int64_t bytes = element_count(spec.shape) * static_cast<int64_t>(sizeof(float));
  values_.reserve(spec.name, bytes);
  grads_.reserve(spec.name, spec.trainable ? bytes : 0);
  moments_.reserve(spec.name, spec.trainable ? 2 * bytes : 0);
  Param p;
  p.size = element_count(spec.shape);
  p.spec = std::move(spec);
  list_.push_back(std::move(p));
  return static_cast<int>(list_.size()) - 1;
}

int Params::share(TensorSpec spec) {
  for (size_t i = 0; i < list_.size(); ++i) {
    const TensorSpec& known = list_[i].spec;
    if (known.name != spec.name) continue;
    if (known.shape != spec.shape || known.trainable != spec.trainable)
      usage_error("the shared tensor '", spec.name, "' is declared with two shapes or as parameter and buffer");
    return static_cast<int>(i);
  }
  return add(std::move(spec));
}

void Params::commit(uint64_t seed) {
  values_.commit();
  grads_.commit();
  moments_.commit();
  std::vector<float> drawn;  // on the host, for a device
  for (size_t i = 0; i < list_.size(); ++i) {
    Param& p = list_[i];
    p.value = values_.as<float>(static_cast<int>(i));
    if (p.spec.trainable) {
      p.grad = grads_.as<float>(static_cast<int>(i));
      p.m = moments_.as<float>(static_cast<int>(i));
      p.v = p.m + p.size;
    }
    if (!values_.on_device()) {
      initialise(p.spec, seed, p.value);
      continue;
    }
    drawn.resize(static_cast<size_t>(p.size));
    initialise(p.spec, seed, drawn.data());
    copy(p.size, drawn.data(), p.value);
  }
}

void Params::copy(int64_t n, const float* from, float* to) const {
  const int64_t bytes = n * int64_t{sizeof(float)};
  if (values_.on_device() && bytes > 0)
    device_copy(to, from, bytes);
  else if (bytes > 0)
    std::memcpy(to, from, static_cast<size_t>(bytes));
}

const Param* Params::find(const std::string& name) const {
  for (const Param& p : list_)
    if (p.spec.name == name) return &p;
  return nullptr;
}

void Params::zero_grads(const Exec& ex) {
  if (ex.dry || list_.empty()) return;
  if (grads_.on_device()) return ex.stream->set(grads_.at(0), 0, grads_.bytes());  // all in one, red zones too
  for (Param& p : list_)
    if (p.grad) std::memset(p.grad, 0, p.size * sizeof(float));
}

int64_t Params::trainable_count() const {
  int64_t n = 0;
  for (const Param& p : list_)
    if (p.spec.trainable) n += p.size;
  return n;
}

}  // namespace swy
