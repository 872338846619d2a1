// Rules on the file of a plugin, read from the file itself (elf.h): R01 one symbol, R02 loading does nothing.
#include <dlfcn.h>

#include <algorithm>

#include "core/conform/case.h"
#include "core/conform/child.h"
#include "core/conform/elf.h"

namespace swy::conform {
namespace {

const char* const kRuntimes[] = {"libc", "libm", "libstdc++", "libgcc_s", "libdl", "libpthread", "libcudart"};
const char* const kSanitizers[] = {"libasan", "libubsan", "libtsan", "libmsan", "libclang_rt"};

// "/usr/lib/libstdc++.so.6" and "libstdc++.so.6" are "libstdc++".
std::string library_name(const std::string& file) {
  const std::string name = std::filesystem::path(file).filename();
  return name.substr(0, name.find(".so"));
}

bool is_sanitizer(const std::string& library) {
  return std::any_of(std::begin(kSanitizers), std::end(kSanitizers),
                     [&](const char* s) { return library.rfind(s, 0) == 0; });
}

bool is_runtime(const std::string& file) {
  const std::string library = library_name(file);
  if (library.rfind("ld-linux", 0) == 0 || library == "ld") return true;
  if (sanitized() && is_sanitizer(library)) return true;
  return std::find(std::begin(kRuntimes), std::end(kRuntimes), library) != std::end(kRuntimes);
}

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kShown) text += cat(" and ", names.size() - kShown, " more");
  return text;
}

void exports_one_symbol(const Subject& subject, const CaseContext&) {
  const std::string entry = "swy_plugin_v1";
  const ElfFile file = read_elf(subject.plugin);
  std::vector<std::string> others = file.exported;
  for (const std::string& kernel : file.exported_kernels)  // those are what device.kernels (R23) is about
    others.erase(std::find(others.begin(), others.end(), kernel));
  const auto it = std::find(others.begin(), others.end(), entry);
  if (it == others.end()) broken("R01", "it does not export ", entry, "; does the function have default visibility?");
  others.erase(it);
  if (!others.empty())
    broken("R01", "besides ", entry, " it exports ", listed(others),
           "; compile with -fvisibility=hidden and link with core/abi/plugin.map");
}

void needs_only_runtimes(const Subject& subject, const CaseContext&) {
  for (const std::string& library : read_elf(subject.plugin).needed) {
    if (!is_runtime(library))
      broken("R01", "it names the library ", library, "; only the C, C++ and CUDA runtimes may be needed (",
             listed({std::begin(kRuntimes), std::end(kRuntimes)}), ")");
  }
}

// A symbol that the host or one of its libraries happens to give would be found too, until the host changes. So each
// one is looked up as the loader would, and the answer has to come from a runtime.
void takes_nothing_from_the_host(const Subject& subject, const CaseContext&) {
  const ElfFile file = read_elf(subject.plugin);
  std::vector<void*> runtimes;
  for (const std::string& library : file.needed)
    if (is_runtime(library)) runtimes.push_back(dlopen(library.c_str(), RTLD_LAZY | RTLD_GLOBAL));
  for (const std::string& symbol : file.undefined) {
    const auto gives = [&](void* runtime) { return runtime && dlsym(runtime, symbol.c_str()); };
    if (std::any_of(runtimes.begin(), runtimes.end(), gives)) continue;
    void* found = dlsym(RTLD_DEFAULT, symbol.c_str());
    if (!found) broken("R01", "no library that it names defines ", symbol);
    Dl_info info;
    if (dladdr(found, &info) == 0 || is_runtime(info.dli_fname)) continue;  // no address: a thread's own copy
    broken("R01", "it uses ", symbol, ", which it finds only in ", info.dli_fname,
           " because the host needs that; link what it uses into the plugin");
  }
}

void nothing_runs_at_load(const Subject& subject, const CaseContext& context) {
  if (sanitized()) skip("sanitizers register constructors of their own");
  const ElfFile file = read_elf(subject.plugin);
  context.note("init_entries", file.init_entries);
  context.note("fini_entries", file.fini_entries);
  // One entry each is the C runtime's own (frame_dummy and __do_global_dtors_aux of crtbegin).
  if (const int64_t own = file.init_entries - file.registrations - 1; own > 0)
    broken("R02", own, " function(s) run when it is loaded",
           file.has_device_code && file.registrations == 0 ? " (or register kernels: strip no local symbols)" : "",
           "; make static objects constexpr, or local to the function that uses them");
  if (const int64_t own = file.fini_entries - file.deregistrations - 1; own > 0)
    broken("R02", own, " function(s) run when it is unloaded or the process ends",
           "; no static object may have a destructor");
  // The start files' code that calls __gmon_start__ if there is one: 27 bytes on x86-64, 24 on AArch64.
  constexpr int64_t kStartFiles = 32;
  if (!file.has_sections) return;
  if (file.init_bytes < 0 || file.init_bytes > kStartFiles) broken("R02", "it has an _init function of its own");
  if (file.fini_bytes < 0 || file.fini_bytes > kStartFiles) broken("R02", "it has a _fini function of its own");
}

}  // namespace

std::vector<Case> file_cases() {
  return {{"file.one_symbol", "file", "R01", "The file exports its entry point and nothing else.", exports_one_symbol,
           false},
          {"file.libraries", "file", "R01", "The file names no library but the C, C++ and CUDA runtimes.",
           needs_only_runtimes, false},
          {"file.undefined", "file", "R01", "Every symbol it wants comes from a runtime, none from the host.",
           takes_nothing_from_the_host, false},
          {"file.constructors", "file", "R02", "Nothing of the plugin's own runs when it is loaded or unloaded.",
           nothing_runs_at_load, false}};
}

}  // namespace swy::conform
