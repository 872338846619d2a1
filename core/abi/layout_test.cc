// The header cannot change unnoticed: C11, C++20, layout.h, layout.golden and CHANGELOG.md all tell the same layout.
#include "core/abi/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "core/base/hash.h"

namespace {

const std::string kFolder = SWITCHYARD_SOURCE_DIR "/core/abi/";

// The compiler itself checks that each type named in layout.h is the field's type.
#define SWY_NOTHING(s)
#define SWY_SAME_TYPE(s, f, ...) \
  static_assert(std::is_same_v<decltype(s::f), __VA_ARGS__>, "layout.h names another type for " #s "." #f);
SWY_EVERY_FIELD(SWY_NOTHING, SWY_SAME_TYPE)

std::string read(const std::string& name) {
  std::ifstream file(kFolder + name);
  EXPECT_TRUE(file) << "cannot open " << kFolder + name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) result.push_back(line);
  return result;
}

std::string formatted(const swy_field& f) {
  char line[256];
  std::snprintf(line, sizeof line, "%-28s %4u %4u  %s", f.name, f.offset, f.size, f.type);
  return line;
}

// What the golden file has and the build has not is a break; the reverse is an append, which needs a changelog line.
// A struct's own line, its size, follows from its fields: it changes with an append too.
std::string difference(const std::vector<std::string>& golden, const std::vector<std::string>& built) {
  std::string text;
  for (const std::string& line : golden)
    if (std::find(built.begin(), built.end(), line) == built.end() && line.find("  struct") == std::string::npos)
      text += "removed, moved, resized or retyped: " + line + "\n";
  for (const std::string& line : built)
    if (std::find(golden.begin(), golden.end(), line) == golden.end()) text += "new: " + line + "\n";
  if (text.empty() && golden != built) text = "the list of structs or the order of lines changed\n";
  return text.empty() ? text : text + "see core/abi/RULES.md, \"Changing the ABI\"";
}

// Struct and field names of a C header in order ("swy_exec", "swy_exec.seed"). Understands the two shapes a field has
// in router.h: `type *a, b[4];` and `type (*f)(...);`.
std::vector<std::string> declared_names(std::string header) {
  header = std::regex_replace(header, std::regex(R"(/\*[^*]*\*+([^/*][^*]*\*+)*/)"), " ");
  header = std::regex_replace(header, std::regex(R"(\s+)"), " ");
  std::vector<std::string> names;
  const std::regex definition(R"(typedef struct (\w+) \{([^}]*)\})");
  const std::regex pointer(R"(\(\*(\w+)\))"), last_name(R"((\w+)( |\[\d+\])*$)");
  for (std::sregex_iterator it(header.begin(), header.end(), definition), end; it != end; ++it) {
    const std::string name = (*it)[1], body = (*it)[2];
    names.push_back(name);
    std::istringstream declarations(body);
    for (std::string declaration; std::getline(declarations, declaration, ';');) {
      std::smatch match;
      if (std::regex_search(declaration, match, pointer)) {
        names.push_back(name + "." + match[1].str());
        continue;
      }
      std::istringstream declarators(declaration);
      for (std::string declarator; std::getline(declarators, declarator, ',');)
        if (std::regex_search(declarator, match, last_name)) names.push_back(name + "." + match[1].str());
    }
  }
  return names;
}

// The parser above is worth trusting: it finds every shape of declaration router.h uses.
TEST(Layout, ParserFindsEveryShapeOfField) {
  const std::vector<std::string> expected = {"a", "a.x", "a.y", "a.z", "a.f", "b", "b.p", "b.q"};
  EXPECT_EQ(declared_names("typedef struct a { /* x; y */ const char *x, *y;\n int64_t z[4];\n"
                           " int (*f)(void *self, int);\n} a; typedef struct b { const c *const *p; int q; } b;"),
            expected);
}

// layout.h lists every struct and every field of router.h, in the header's order, and nothing else.
TEST(Layout, ListsEveryFieldOfTheHeaderInOrder) {
  std::vector<std::string> listed;
  for (const swy_field& f : swy_layout) listed.push_back(f.name);
  EXPECT_EQ(listed, declared_names(read("router.h")));
}

// As C++20, every offset, size and type is the committed one.
TEST(Layout, CxxMatchesTheGoldenFile) {
  std::vector<std::string> built;
  for (const swy_field& f : swy_layout) built.push_back(formatted(f));
  EXPECT_EQ(difference(lines(read("layout.golden")), built), "");
}

// As C11, the printer writes the committed file byte for byte.
TEST(Layout, C11MatchesTheGoldenFile) {
  std::FILE* pipe = popen(SWITCHYARD_LAYOUT_PRINT, "r");
  ASSERT_NE(pipe, nullptr);
  std::string printed;
  for (int c; (c = std::fgetc(pipe)) != EOF;) printed += static_cast<char>(c);
  EXPECT_EQ(pclose(pipe), 0);
  EXPECT_EQ(printed, read("layout.golden"));
}

// The comparison tells a break from an append, so its message sends the author to the right rule.
TEST(Layout, DifferenceTellsBreakFromAppend) {
  EXPECT_EQ(difference({"a 0", "b 8"}, {"a 0", "b 8"}), "");
  EXPECT_EQ(
      difference({"s 8  struct", "a 0"}, {"s 12  struct", "a 0", "b 8"}).rfind("new: s 12  struct\nnew: b 8\n", 0), 0u);
  EXPECT_EQ(difference({"a 0", "b 8"}, {"a 0"}).rfind("removed, moved, resized or retyped: b 8\n", 0), 0u);
  EXPECT_EQ(difference({"a", "b"}, {"b", "a"}).rfind("the list of structs or the order of lines changed\n", 0), 0u);
}

// The committed file would notice: each field of it removed, moved, resized or retyped in turn is reported as that
// break.
TEST(Layout, EveryBreakOfTheGoldenFileIsNoticed) {
  const std::vector<std::string> golden = lines(read("layout.golden"));
  size_t fields = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    if (golden[i].find("  struct") != std::string::npos) continue;
    ++fields;
    const std::string report = "removed, moved, resized or retyped: " + golden[i] + "\n";
    std::istringstream in(golden[i]);
    std::string name, type;
    uint32_t offset, size;
    in >> name >> offset >> size >> std::ws;
    std::getline(in, type);
    const std::string other = type + " const";
    for (const swy_field& f : {swy_field{name.c_str(), type.c_str(), offset + 8, size},
                               swy_field{name.c_str(), type.c_str(), offset, size + 4},
                               swy_field{name.c_str(), other.c_str(), offset, size}}) {
      std::vector<std::string> changed = golden;
      changed[i] = formatted(f);
      EXPECT_EQ(difference(golden, changed).rfind(report, 0), 0u) << changed[i];
    }
    std::vector<std::string> removed = golden;
    removed.erase(removed.begin() + static_cast<int64_t>(i));
    EXPECT_EQ(difference(golden, removed).rfind(report, 0), 0u) << "removed " << golden[i];
  }
  EXPECT_GT(fields, 150u);
}

// No struct has padding, on any compiler: each field begins where the one before it ended.
TEST(Layout, StructsHaveNoHoles) {
  const swy_field* whole = nullptr;
  uint32_t end = 0;
  for (const swy_field& f : swy_layout) {
    if (std::string(f.type) == "struct") {
      if (whole) {
        EXPECT_EQ(end, whole->size) << whole->name << " ends with padding";
      }
      whole = &f;
      end = 0;
    } else {
      EXPECT_EQ(f.offset, end) << "hole before " << f.name;
      end = f.offset + f.size;
    }
  }
  EXPECT_EQ(end, whole->size) << whole->name << " ends with padding";
}

// A changed golden file needs a changelog entry: the newest one carries the version and the file's fingerprint.
TEST(Layout, ChangelogsNewestEntryIsThisLayout) {
  const std::string golden = read("layout.golden");
  const std::string expected = "## " + std::to_string(SWY_ABI_MAJOR) + "." + std::to_string(SWY_ABI_MINOR) +
                               ", layout " + swy::sha256_hex(golden.data(), golden.size()).substr(0, 12);
  for (const std::string& line : lines(read("CHANGELOG.md"))) {
    if (line.rfind("## ", 0) != 0) continue;
    EXPECT_EQ(line, expected) << "the layout changed: describe it under this heading in core/abi/CHANGELOG.md";
    return;
  }
  ADD_FAILURE() << "CHANGELOG.md has no entry";
}

}  // namespace
