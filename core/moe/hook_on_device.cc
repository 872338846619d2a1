#include "core/moe/hook_on_device.h"

#include <algorithm>

namespace swy::moe {

template <class T>
T* HookOnDevice::bring(std::vector<T>& to, const T* from, int64_t n) {
  to.resize(from ? static_cast<size_t>(n) : 0);
  if (to.empty()) return nullptr;
  device_copy(to.data(), from, n * static_cast<int64_t>(sizeof(T)));
  return to.data();
}

template <class T>
void HookOnDevice::send(const std::vector<T>& from, T* to) {
  if (!from.empty()) device_copy(to, from.data(), static_cast<int64_t>(from.size() * sizeof(T)));
}

void HookOnDevice::before(const SiteSpec& spec, swy_batch& b) {
  stream_.wait();
  const int64_t size = b.x.shape[0] * b.x.shape[1];
  swy_batch seen{};
  seen.struct_size = b.struct_size;
  seen.n_sequences = b.n_sequences, seen.n_groups = b.n_groups, seen.n_rows = b.n_rows, seen.n_tasks = b.n_tasks;
  seen.x = b.x;
  seen.x.data = hook_.reads_states() ? bring(x_, static_cast<const float*>(b.x.data), size) : nullptr;
  seen.row_begin = bring(row_begin_, b.row_begin, b.n_rows + 1);
  seen.sequence_begin = bring(sequence_begin_, b.sequence_begin, b.n_sequences + 1);
  const void* given = seen.x.data;
  hook_.before(spec, seen);
  if (seen.x.data != given) {
    const int64_t bytes = size * static_cast<int64_t>(sizeof(float));
    if (replaced_.bytes() < bytes) replaced_ = DeviceMemory(stream_.device(), bytes);
    device_copy(replaced_.data(), seen.x.data, bytes);
    b.x.data = replaced_.data();
  }
  seen_ = seen;
}

void HookOnDevice::after(const SiteSpec& spec, const swy_needs& needs, const swy_batch& b, const swy_plan& p) {
  stream_.wait();
  swy_plan seen{};
  seen.struct_size = p.struct_size, seen.kind = p.kind, seen.max_assign = p.max_assign;
  const int64_t slots = needs.plan_kind == SWY_DENSE ? b.x.shape[0] * spec.experts * needs.slots : 0;
  if (needs.plan_kind == SWY_ASSIGN) {
    seen.count = bring(count_, p.count, 1);
    count_[0] = std::clamp(count_[0], 0, static_cast<int32_t>(p.max_assign));  // as the dispatcher reads it
    seen.row = bring(row_, p.row, p.max_assign), seen.expert = bring(expert_, p.expert, p.max_assign);
    seen.weight = bring(weight_, p.weight, p.max_assign);
  } else if (needs.plan_kind == SWY_DENSE) {
    seen.dispatch = bring(dispatch_, p.dispatch, slots), seen.combine = bring(combine_, p.combine, slots);
  } else {
    seen.mix = bring(mix_, p.mix, int64_t{b.n_rows} * spec.experts * std::max(needs.mix_blocks, 1));
  }
  hook_.after(spec, needs, seen_, seen);
  send(count_, p.count), send(row_, p.row), send(expert_, p.expert), send(weight_, p.weight);
  send(dispatch_, p.dispatch), send(combine_, p.combine), send(mix_, p.mix);
}

void HookOnDevice::lent(const SiteSpec& spec, int64_t n, const int32_t* index, float* y) {
  stream_.wait();
  hook_.lent(spec, n, bring(index_, index, n), bring(y_, y, n * spec.width));
  send(y_, y);
}

}  // namespace swy::moe
