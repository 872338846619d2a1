// The error that a call to a CUDA device leaves behind until somebody asks: the runtime keeps one for each thread.
#pragma once
#include <string>

namespace swy {

// That of this thread, by name and text, and forgets it; empty when there is none or no CUDA. Does not wait: what fails
// later, on the device, shows when somebody waits.
std::string device_error();

}  // namespace swy
