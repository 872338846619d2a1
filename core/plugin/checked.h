// The checked layer: an ABI table that forwards to another and looks at what the plugin does on the way. The host does
// not know that it is there. It enforces, and names in the reason of the failure,
//
//   R05 no exception leaves a callback          R09 scratch and saved are written before they are read
//   R06 every failure has a reason              R11 a plan can be carried out
//   R07 a step neither allocates nor waits      R19 gradients are finite
//   R08 writes stay inside the memory given, and inputs are not written to
//
// In a checked call the plugin works on copies: every array it is given stands alone between red zones, scratch is NaN
// before each call, saved memory and the plan before each forward. The copies of what it may write go back afterwards.
#pragma once
#include "core/abi/router.h"

namespace swy {

enum class Checking {
  kFirst,   // the first forward of each site and phase and the first backward of each site; later calls go straight on
  kAlways,  // every call: debug builds, conformance
};
// What an Instance uses unless told otherwise: kAlways in debug builds.
Checking default_checking();

// `router` stays loaded for the life of the process, and so does the table. It finds its router through swy_host.ctx,
// where the host that calls its `create` must have put the table's own address (Instance does).
const swy_router& checked(const swy_router& router, Checking);

}  // namespace swy
