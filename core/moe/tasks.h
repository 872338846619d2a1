// Independent pieces of work (experts, groups) spread over the threads, each piece on one thread with single-threaded
// ops inside. Pieces may differ in size, so threads take the next one when free; results do not depend on who
// does what, and the counted work is a sum of whole numbers, so neither does the tally.
#pragma once
#include <cstdint>

#include "core/base/parallel.h"
#include "core/device/exec.h"

namespace swy::moe {

// body(exec, thread, i) for i in [0, n). Few pieces (fewer than two per thread) run one after the other with threaded
// ops instead, as thread 0; so do all where they are only enqueued to a device.
template <class Body>
void for_each_task(const Exec& ex, int64_t n, Body&& body) {
  if (ex.stream || n < 2 * thread_count() || thread_count() == 1) {
    for (int64_t i = 0; i < n; ++i) body(ex, 0, i);
    return;
  }
  double flops = 0, bytes = 0;
#pragma omp parallel reduction(+ : flops, bytes)
  {
    Tally mine;
    Exec local = ex;
    local.tally = &mine;
    const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < n; ++i) body(static_cast<const Exec&>(local), thread, i);
    const Work work = mine.total();
    flops = work.flops;
    bytes = work.bytes;
  }
  ex.tally->add(flops, bytes);
}

}  // namespace swy::moe
