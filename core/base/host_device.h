// Marks functions that device code may call as well: one text for both, so that what the host tests is what a device
// runs.
#pragma once

#ifdef __CUDACC__
#define SWY_HOST_DEVICE __host__ __device__
#else
#define SWY_HOST_DEVICE
#endif
