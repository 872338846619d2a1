// Loops over a fixed partition: the same thread count always gives the same ranges, so sums that are
// split by range are reproducible. OpenMP, because oneDNN uses the same team.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace swy {

inline int thread_count() { return omp_get_max_threads(); }
inline void set_thread_count(int threads) { omp_set_num_threads(threads); }

// body(begin, end) over [0, n) in one contiguous range per thread; no range is shorter than `grain`
// (except the last), so small loops stay on the calling thread. `body` must not throw.
template <class Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  const int64_t parts = std::min<int64_t>(thread_count(), (n + grain - 1) / std::max<int64_t>(grain, 1));
  if (parts <= 1 || omp_in_parallel()) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
#pragma omp parallel num_threads(static_cast <int>(parts))
  {
    const int64_t t = omp_get_thread_num(), count = omp_get_num_threads();
    const int64_t begin = n * t / count, end = n * (t + 1) / count;
    if (begin < end) body(begin, end);
  }
}

}  // namespace swy
