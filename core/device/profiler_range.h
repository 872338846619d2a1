// A stretch of a program that profilers show by name (NVTX: Nsight Systems, Nsight Compute). Without a profiler it
// costs a load and a branch; without CUDA, or with a toolkit that lacks NVTX, nothing at all.
#pragma once
#ifdef SWITCHYARD_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace swy {

#ifdef SWITCHYARD_NVTX
inline constexpr bool kWithRanges = true;
#else
inline constexpr bool kWithRanges = false;
#endif

// From here to the end of its life. Ranges of a thread nest. The work a range encloses is what the host enqueues in it;
// a profiler finds the kernels that belong to it. In a replayed graph there are none: they were there at its recording.
class ProfilerRange {
 public:
#ifdef SWITCHYARD_NVTX
  explicit ProfilerRange(const char* name) { nvtxRangePushA(name); }
  ~ProfilerRange() { nvtxRangePop(); }
#else
  explicit ProfilerRange(const char*) {}
  ~ProfilerRange() {}  // so that it is no unused variable
#endif
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
};

}  // namespace swy
