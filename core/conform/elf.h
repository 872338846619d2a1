// What a shared library's file says of itself, read without loading it and without any tool: which symbols it gives and
// wants, which libraries it names, what runs when it is loaded and unloaded.
//
// Everything is found from the program headers, as the loader finds it, so a stripped file reads the same. Sources: the
// System V ABI, chapter 5; for the GNU hash table, which alone tells how many symbols there are, glibc's
// elf/dl-lookup.c.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace swy::conform {

struct ElfFile {
  std::vector<std::string> exported;   // defined, visible to other libraries
  std::vector<std::string> undefined;  // wanted from other libraries, without those that may be missing (weak)
  std::vector<std::string> needed;     // DT_NEEDED: the libraries it names
  int64_t init_entries = 0;            // functions run at load: DT_INIT_ARRAY and DT_PREINIT_ARRAY
  int64_t fini_entries = 0;            // at unload: DT_FINI_ARRAY
  // Bytes of code behind DT_INIT and DT_FINI, which the C runtime's start files fill; 0: there is none, -1: it is not
  // the section .init or .fini, or the file has no section table to tell.
  int64_t init_bytes = 0, fini_bytes = 0;
  bool has_sections = false;
  // Code for CUDA devices as nvcc leaves it (section .nv_fatbin), and the exported symbols that are its kernels: those
  // whose name also stands in the data, as the text by which the file registers a kernel when it is loaded, and the
  // functions that launch them, __device_stub_<kernel>. (Seen with nvcc 13.0.)
  bool has_device_code = false;
  // Of init_entries and fini_entries, those that nvcc and its static runtime add to register kernels, told by their
  // names; 0 where the file's table of local symbols was stripped.
  int64_t registrations = 0, deregistrations = 0;
  std::vector<std::string> exported_kernels;
};

// 64-bit little-endian shared libraries. Throws Error (environment) when the file cannot be read or is none.
ElfFile read_elf(const std::filesystem::path&);

}  // namespace swy::conform
