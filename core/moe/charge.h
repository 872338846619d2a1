// Work that was counted in rows on a device, charged on the host: every op's FLOPs and bytes grow linearly with its
// rows, so what a dry run counts for none and for one says what any number of them cost.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::moe {

// Adds what `chunks` runs of `work` over `rows` rows in all count. work(exec, n): on n rows; called in dry runs.
template <class Body>
void charge_rows(Tally& tally, int64_t rows, int64_t chunks, Body&& work) {
  const auto counted = [&](int64_t n) {
    Tally own;
    Exec dry{&own};
    dry.dry = true;
    work(static_cast<const Exec&>(dry), n);
    return own.total();
  };
  const Work none = counted(0), one = counted(1);
  const auto n = static_cast<double>(rows), c = static_cast<double>(chunks);
  tally.add(c * none.flops + n * (one.flops - none.flops), c * none.bytes + n * (one.bytes - none.bytes));
}

}  // namespace swy::moe
