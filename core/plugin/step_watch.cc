#include "core/plugin/step_watch.h"

#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace swy {
namespace {

// The module (program or library) that holds an address.
struct Module {
  uintptr_t begin = 0, end = 0;
  bool is_program = false;
};
Module module_of(const void* address) {
  Module m;
  struct Search {
    uintptr_t at;
    Module* found;
    int index;
  } search{reinterpret_cast<uintptr_t>(address), &m, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* arg) {
        auto& s = *static_cast<Search*>(arg);
        uintptr_t begin = UINTPTR_MAX, end = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
          const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
          begin = std::min(begin, from), end = std::max(end, from + info->dlpi_phdr[i].p_memsz);
        }
        if (s.at >= begin && s.at < end) *s.found = {begin, end, s.index == 0};
        ++s.index;
        return 0;
      },
      &search);
  return m;
}

std::atomic<uintptr_t> watched_begin{0}, watched_end{0};
std::atomic<const char*> forbidden{nullptr};

void hear(const char* name, const void* caller) {
  const auto at = reinterpret_cast<uintptr_t>(caller);
  if (at >= watched_begin && at < watched_end) forbidden = name;
}

}  // namespace

StepWatch::StepWatch(const void* function) {
  const Module m = module_of(function);
  if (m.is_program || m.end == 0) return;
  watched_begin = m.begin, watched_end = m.end;
  forbidden = nullptr;
  before_ = listen_to_libc(hear);
  watching_ = true;
}

const char* StepWatch::stop() {
  if (watching_) listen_to_libc(before_);
  watching_ = false;
  return forbidden.exchange(nullptr);
}

}  // namespace swy
