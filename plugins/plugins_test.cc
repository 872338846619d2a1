// Keeps the files beside each router true: README.md, router.json and golden.json against the plugin that was built.
//
// What the plugins do is the business of `switchyard conform --all` (a test of core/conform); golden.json is read
// there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "core/base/files.h"
#include "core/base/json.h"
#include "core/plugin/instance.h"

namespace swy {
namespace {

namespace fs = std::filesystem;
const fs::path kSource = SWITCHYARD_SOURCE_DIR "/plugins";
constexpr size_t kTrials = 6;  // of every learned router with that many settings: equal effort in tuning

fs::path plugin_file(const std::string& id) { return fs::path(SWITCHYARD_BUILD_DIR) / "plugins" / (id + ".so"); }

std::vector<std::string> folders_with(const std::string& file) {
  std::vector<std::string> ids;
  for (const auto& entry : fs::directory_iterator(kSource))
    if (fs::exists(entry.path() / file)) ids.push_back(entry.path().filename());
  std::sort(ids.begin(), ids.end());
  return ids;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::string option_text(const Json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); }
OptionText option_texts(const Json& options) {
  OptionText text;
  for (const auto& [name, value] : options.items()) text[name] = option_text(value);
  return text;
}

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// The line of README.md's option table.
std::string table_row(const swy_option& o, const std::string& preset) {
  std::ostringstream row;
  row.precision(15);
  row << "| `" << o.name << "` | " << preset << " | ";
  if (o.type == SWY_OPT_CHOICE) {
    row << replace_all(o.choices, "|", ", ");
  } else if (o.type == SWY_OPT_BOOL) {
    row << "true, false";
  } else {
    row << o.low << " to " << o.high;
  }
  row << " | " << o.doc << " |\n";
  return row.str();
}

// How many settings the options offer, counted up to kTrials.
size_t settings(const swy_router& router) {
  size_t product = 1;
  for (uint32_t i = 0; i < router.n_options && product < kTrials; ++i) {
    const swy_option& o = router.options[i];
    switch (o.type) {
      case SWY_OPT_BOOL: product *= 2; break;
      case SWY_OPT_CHOICE:
        product *= 1 + static_cast<size_t>(std::count(o.choices, o.choices + std::strlen(o.choices), '|'));
        break;
      case SWY_OPT_INT: product *= static_cast<size_t>(o.high - o.low) + 1; break;
      default: product = kTrials;
    }
  }
  return std::min(product, kTrials);
}

class RouterFolder : public ::testing::TestWithParam<std::string> {
 protected:
  const std::string id = GetParam();
  const fs::path folder = kSource / id;
  const swy_router& router = *find_router(plugin_file(id)).router;  // throws when it does not load
};

// The folder is the router's name everywhere, and the file of a router can be read at one sitting.
TEST_P(RouterFolder, IsNamedAfterItsRouter) {
  EXPECT_EQ(router.id, id);
  const std::string source = read_text(folder / "router.cc");
  EXPECT_LE(std::count(source.begin(), source.end(), '\n'), 120);
}

// router.json speaks of this router, and the harness accepts every preset and every value that tuning would try.
TEST_P(RouterFolder, PresetsAndSearchAreAccepted) {
  const Json j = read_json(folder / "router.json");
  EXPECT_EQ(j.at("id"), id);
  EXPECT_EQ(j.at("title"), router.name);
  const std::set<std::string> families = {"token choice", "expert choice", "soft", "merge", "depth", "task", "control"};
  const std::string family = j.at("family");
  EXPECT_TRUE(families.count(family)) << family;
  EXPECT_TRUE(j.at("presets").contains("default"));
  for (const auto& [name, options] : j.at("presets").items())
    EXPECT_NO_THROW(parse_options(router, option_texts(options))) << "preset " << name;
  size_t trials = 1;
  for (const auto& [name, values] : j.at("search").items()) {
    trials *= values.size();
    for (const Json& v : values) EXPECT_NO_THROW(parse_options(router, {{name, option_text(v)}})) << name << " = " << v;
  }
  EXPECT_EQ(trials, family == "control" ? 1 : settings(router));
  EXPECT_FALSE(j.at("quirks").empty());
  EXPECT_TRUE(family == "control" || fs::exists(folder / "golden.json")) << "a published router needs vectors";
}

// The plugin, router.json and README.md name the same source.
TEST_P(RouterFolder, PaperIsTheSameEverywhere) {
  const Json paper = read_json(folder / "router.json").at("paper");
  EXPECT_EQ(paper.is_null(), std::string(router.paper) == "control");
  if (paper.is_null()) return;
  const std::string first = paper.at("authors").at(0), surname = first.substr(first.rfind(' ') + 1);
  const std::string readme = read_text(folder / "README.md"), year = paper.at("year").dump(), arxiv = paper.at("arxiv");
  EXPECT_TRUE(contains(router.paper, surname) && contains(router.paper, year)) << router.paper;
  for (const std::string& part : {surname, year, arxiv}) EXPECT_TRUE(contains(readme, part)) << part;
  if (!arxiv.empty()) {
    EXPECT_EQ(paper.at("url"), "https://arxiv.org/abs/" + arxiv);
  }
}

// README.md has the option table of the plugin, line by line, the equations that `switchyard describe` prints, and
// says what differs from the source.
TEST_P(RouterFolder, ReadmeHasTheOptionTable) {
  const std::string readme = read_text(folder / "README.md");
  const OptionText presets = effective_options(router, {});
  for (uint32_t i = 0; i < router.n_options; ++i) {
    const std::string row = table_row(router.options[i], presets.at(router.options[i].name));
    EXPECT_TRUE(contains(readme, row)) << "this line is missing: " << row;
  }
  EXPECT_EQ(static_cast<uint32_t>(replace_all(readme, "\n| `", "\n| `+").size() - readme.size()), router.n_options)
      << "the table has a line for something that is no option";
  for (const char* heading : {"\n## Equations\n", "\n## What differs\n"})
    EXPECT_TRUE(contains(readme, heading)) << heading;
}

// Every vector says where it is from and is of a kind that somebody compares: whole routers by the conformance case
// correct.golden, the rest by core/moe/golden_test.cc.
TEST_P(RouterFolder, VectorsHaveASource) {
  if (!fs::exists(folder / "golden.json")) GTEST_SKIP() << "a control without vectors";
  const Json golden = read_json(folder / "golden.json");
  EXPECT_FALSE(golden.at("source").get<std::string>().empty());
  EXPECT_FALSE(golden.at("cases").empty());
  const std::set<std::string> kinds = {"router",   "given_gates",      "given_noise",      "capacity",
                                       "sinkhorn", "sparse_transport", "capped_transport", "sparse_simplex"};
  for (const Json& given : golden.at("cases")) {
    SCOPED_TRACE(given.at("name").get<std::string>());
    EXPECT_FALSE(given.at("source").get<std::string>().empty());
    EXPECT_TRUE(kinds.count(given.at("kind"))) << given.at("kind");
  }
}

const auto kName = [](const ::testing::TestParamInfo<std::string>& p) { return p.param; };
INSTANTIATE_TEST_SUITE_P(Plugins, RouterFolder, ::testing::ValuesIn(folders_with("router.cc")), kName);

// Every folder is a whole router, and the overview lists it.
TEST(Plugins, EveryFolderIsARouterOfTheOverview) {
  const std::string overview = read_text(kSource / "README.md");
  size_t found = 0;
  for (const auto& entry : fs::directory_iterator(kSource)) {
    if (!entry.is_directory()) continue;
    ++found;
    const std::string id = entry.path().filename();
    for (const char* file : {"router.cc", "router.json", "README.md"})
      EXPECT_TRUE(fs::exists(entry.path() / file)) << id << "/" << file;
    EXPECT_TRUE(contains(overview, "| [`" + id + "`](" + id + "/README.md) |")) << id << " is not in plugins/README.md";
  }
  EXPECT_GT(found, 0u);
}

}  // namespace
}  // namespace swy
