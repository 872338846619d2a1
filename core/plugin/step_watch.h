// What a plugin calls in a step although a step only enqueues work (rule R07): memory, waiting, input and output.
#pragma once
#include "core/plugin/libc_calls.h"

namespace swy {

// While alive, notes the first such call made from the module that `function` belongs to. Routers that are part of this
// program are not watched: the host's own calls would count as theirs. One watch at a time.
class StepWatch {
 public:
  explicit StepWatch(const void* function);
  ~StepWatch() { stop(); }
  StepWatch(const StepWatch&) = delete;
  StepWatch& operator=(const StepWatch&) = delete;

  // Ends the watch: the name of the function that was called, or null.
  const char* stop();

 private:
  LibcListener before_ = nullptr;
  bool watching_ = false;
};

}  // namespace swy
