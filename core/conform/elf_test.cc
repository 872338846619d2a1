// The ELF reader and the rules on a plugin's file, on libraries made for it and on every router of this tree.
#include "core/conform/elf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "core/base/files.h"
#include "core/base/philox.h"
#include "core/conform/case.h"
#include "core/conform/child.h"

namespace swy::conform {
namespace {
namespace fs = std::filesystem;

const fs::path kFiles = SWITCHYARD_TEST_FILES;

// How the case of that name ends for a file, here in this process.
Result check_file(const fs::path& plugin, const std::string& name) {
  for (const Case& c : all_cases())
    if (c.name == name) return run_case(c, {.plugin = plugin, .router = "", .name = name});
  ADD_FAILURE() << "no case " << name;
  return {};
}

std::vector<std::string> file_case_names() {
  std::vector<std::string> names;
  for (const Case& c : all_cases())
    if (c.mode == "file") names.push_back(c.name);
  return names;
}

// Every file rule holds for `plugin`, or, when `name` is given, that one alone is broken, with a word of the reason.
void expect_only(const fs::path& plugin, const std::string& name, const std::string& word) {
  for (const std::string& each : file_case_names()) {
    const Result r = check_file(plugin, each);
    if (r.status == Status::kSkip && sanitized()) continue;
    EXPECT_EQ(r.status, each == name ? Status::kFail : Status::kPass) << plugin << " " << each << ": " << r.message;
    if (each != name) continue;
    EXPECT_NE(r.message.find(word), std::string::npos) << r.message;
  }
}

// Proves that a symbol, a library and the start files' entries are read as they were put in.
TEST(Elf, ReadsALibrary) {
  const ElfFile file = read_elf(kFiles / "two_symbols.so");
  std::vector<std::string> exported = file.exported;
  std::sort(exported.begin(), exported.end());
  EXPECT_EQ(exported, (std::vector<std::string>{"another_symbol", "swy_plugin_v1"}));
  const ElfFile foreign = read_elf(kFiles / "foreign_library.so");
  EXPECT_TRUE(std::any_of(foreign.needed.begin(), foreign.needed.end(),
                          [](const std::string& n) { return n.rfind("libcrypto.so", 0) == 0; }));
  const ElfFile host = read_elf(kFiles / "host_symbol.so");
  EXPECT_EQ(std::count(host.undefined.begin(), host.undefined.end(), "omp_get_max_threads"), 1);
  EXPECT_TRUE(file.has_sections);
  if (sanitized()) return;
  EXPECT_EQ(read_elf(kFiles / "constructor.so").init_entries, file.init_entries + 1);
  EXPECT_EQ(read_elf(kFiles / "destructor.so").fini_entries, file.fini_entries + 1);
  EXPECT_EQ(read_elf(kFiles / "own_init.so").init_bytes, -1);
}

// Proves that each way to break a rule on the file is found by its case and by no other, without loading the file: the
// one with a constructor would crash.
TEST(Elf, EachWrongFileBreaksOneRule) {
  expect_only(kFiles / "plain.so", "", "");
  expect_only(kFiles / "two_symbols.so", "file.one_symbol", "another_symbol");
  expect_only(kFiles / "foreign_library.so", "file.libraries", "libcrypto");
  expect_only(kFiles / "host_symbol.so", "file.undefined", "omp_get_max_threads");
  if (sanitized()) return;
  expect_only(kFiles / "constructor.so", "file.constructors", "1 function(s) run when it is loaded");
  expect_only(kFiles / "destructor.so", "file.constructors", "1 function(s) run when it is unloaded");
  expect_only(kFiles / "own_init.so", "file.constructors", "_init");
}

#ifdef SWITCHYARD_CUDA
// Proves that device code is seen, and that of nvcc's kernels those that are exported are told from other symbols.
TEST(Elf, FindsExportedKernels) {
  const ElfFile file = read_elf(kFiles / "kernels.so");
  EXPECT_TRUE(file.has_device_code);
  EXPECT_FALSE(read_elf(kFiles / "plain.so").has_device_code);
  EXPECT_EQ(file.registrations, file.init_entries - 1) << "nothing else runs at load";
  EXPECT_GT(file.registrations, 0);
  EXPECT_EQ(read_elf(kFiles / "plain.so").registrations, 0);
  std::vector<std::string> kernels = file.exported_kernels;
  std::sort(kernels.begin(), kernels.end());
  EXPECT_EQ(kernels, (std::vector<std::string>{"_Z24__device_stub__Z5outerPfPf", "_Z5outerPf"}));
  const Result r = check_file(kFiles / "kernels.so", "device.kernels");
  EXPECT_EQ(r.status, Status::kFail);
  EXPECT_NE(r.message.find("exports the kernel"), std::string::npos) << r.message;
}
#endif

// Proves rules R01 and R02 for every router of this tree.
TEST(Elf, RoutersOfThisTreeKeepTheRules) {
  int plugins = 0;
  for (const auto& entry : fs::directory_iterator(SWITCHYARD_BUILD_DIR "/plugins")) {
    if (entry.path().extension() != ".so") continue;
    ++plugins;
    expect_only(entry.path(), "", "");
    EXPECT_EQ(read_elf(entry.path()).exported, std::vector<std::string>{"swy_plugin_v1"}) << entry.path();
  }
  EXPECT_GE(plugins, 7);
}

// Proves that a file cut short or with wrong bytes is refused or read, but never crashes or hangs the reader.
TEST(Elf, DamagedFilesDoNoHarm) {
  const std::string whole = read_text(kFiles / "plain.so");
  const fs::path damaged = fs::path(testing::TempDir()) / "switchyard_damaged.so";
  int refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    std::ofstream(damaged, std::ios::binary) << bytes;
    try {
      read_elf(damaged);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kEnvironment) << e.what();
      ++refused;
    }
  };
  for (size_t length = 0; length < whole.size(); length += 1 + whole.size() / 100) attempt(whole.substr(0, length));
  EXPECT_GE(refused, 50);
  Random random(7);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    // The headers and tables stand at the front; that is where damage matters.
    for (int k = 0; k < 4; ++k) bytes[random.below(2048)] = static_cast<char>(random.word());
    attempt(bytes);
  }
  fs::remove(damaged);
  EXPECT_THROW(read_elf("/nowhere.so"), Error);
}

}  // namespace
}  // namespace swy::conform
