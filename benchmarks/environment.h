// What a number was measured on: machine, compiler, libraries, revision, and how busy the machine was.
#pragma once
#include "core/base/json.h"

namespace swy::bench {

Json environment();
// Largest resident set of this program so far, in bytes. Not getrusage's: that starts from what the parent held at
// fork.
double peak_memory();
std::string utc_now();  // "2025-01-31T12:00:00Z"

}  // namespace swy::bench
