// Keeps the files beside each router true: README.md, router.json and golden.json against the plugin that was built.
//
// golden.json: {"source", "cases": [{"name", "kind", "source", input ..., expected ...}]}. Cases of kind "router" run
// here through the real plugin, and a case with a "gradient" back again; all other kinds ask for less than a router (a
// choice, a loss, a capacity, a transport plan) and are run by core/moe/golden_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "core/base/files.h"
#include "core/base/json.h"
#include "core/device/exec.h"
#include "core/plugin/instance.h"
#include "core/sdk/testing.h"

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

std::vector<float> flat(const Json& rows) {
  std::vector<float> values;
  for (const Json& row : rows)
    for (const Json& v : row) values.push_back(v.get<float>());
  return values;
}

// `rows` are the first rows of the matrix `values`.
void expect_rows(const Json& rows, const std::vector<float>& values, double tolerance, const std::string& what) {
  const std::vector<float> want = flat(rows);
  ASSERT_LE(want.size(), values.size()) << what;
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(values[i], want[i], tolerance) << what << " at " << i;
}

// What experts that return their input make of a DENSE plan over one group: C D^T x.
std::vector<float> mixed_back(const testing::Trial& t, int32_t width) {
  const auto tokens = static_cast<size_t>(t.tokens), d = static_cast<size_t>(width), slots = t.combine.size() / tokens;
  std::vector<float> y(tokens * d);
  for (size_t s = 0; s < tokens; ++s)
    for (size_t j = 0; j < slots; ++j)
      for (size_t u = 0; u < tokens; ++u)
        for (size_t c = 0; c < d; ++c)
          y[s * d + c] += t.combine[s * slots + j] * t.dispatch[u * slots + j] * t.x[u * d + c];
  return y;
}

// One backward call on `dplan`, auxiliary losses with their declared weights, adds `gradient`.
void compare_gradient(testing::Trial& t, const Json& dplan, const Json& gradient, double tolerance) {
  std::vector<float> daux;
  for (uint32_t i = 0; i < t.needs.n_aux; ++i) daux.push_back(static_cast<float>(t.needs.aux[i].weight));
  auto part = [&](const char* name) { return dplan.contains(name) ? flat(dplan[name]) : std::vector<float>{}; };
  t.backward(dplan.value("pairs", std::vector<float>{}), part("dispatch"), part("combine"), part("mix"), daux);
  for (const auto& [name, rows] : gradient.items()) {
    const std::vector<float>& added = name == "x" ? t.dx : name == "residual" ? t.dresidual : t.grad(name);
    EXPECT_EQ(flat(rows).size(), added.size()) << name;
    expect_rows(rows, added, tolerance, "gradient of " + name);
  }
}

void run_golden(const swy_router& router, const Json& given) {
  Tally tally;
  Exec exec{&tally};
  testing::Shape shape{given["width"], given["experts"], given["capacity"], given["groups"]};
  if (given.value("site", "ffn") == "block") shape.site_kind = SWY_SITE_BLOCK;
  if (given.contains("sequence_task")) given["sequence_task"].get_to(shape.tasks);
  if (given.contains("task_embedding")) shape.d_task = static_cast<int32_t>(given["task_embedding"][0].size());
  testing::Trial t(router, plugin_host(), &exec, shape, parse_options(router, option_texts(given["options"])));
  auto fill = [](const Json& rows, std::vector<float>& memory, const std::string& name) {
    const std::vector<float> values = flat(rows);
    ASSERT_EQ(values.size(), memory.size()) << name;
    memory = values;
  };
  fill(given["x"], t.x, "x");
  if (given.contains("residual")) fill(given["residual"], t.residual, "residual");
  if (given.contains("task_embedding")) fill(given["task_embedding"], t.task_embedding, "task_embedding");
  ASSERT_EQ(given["tensors"].size(), t.n_tensors());
  for (const auto& [name, rows] : given["tensors"].items()) fill(rows, t.tensor(name), name);
  t.set_step(given.value("step", 0));
  t.forward(given.value("phase", "train") == "score" ? SWY_SCORE : SWY_TRAIN);
  const double tolerance = given["tolerance"];
  for (const auto& [what, expected] : given["expected"].items()) {
    if (what == "aux") {
      ASSERT_EQ(expected.size(), t.aux.size());
      for (uint32_t i = 0; i < t.needs.n_aux; ++i)
        EXPECT_NEAR(t.aux[i], expected.at(t.needs.aux[i].name).get<double>(), tolerance) << t.needs.aux[i].name;
    } else if (what == "pairs") {
      ASSERT_EQ(static_cast<size_t>(t.count), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(t.row[i], expected[i][0]) << "pair " << i;
        EXPECT_EQ(t.expert[i], expected[i][1]) << "pair " << i;
        EXPECT_NEAR(t.weight[i], expected[i][2].get<double>(), tolerance) << "pair " << i;
      }
    } else if (what == "dispatch") {
      expect_rows(expected, t.dispatch, tolerance, what);
    } else if (what == "combine") {
      expect_rows(expected, t.combine, tolerance, what);
    } else if (what == "mix") {
      expect_rows(expected, t.mix, tolerance, what);
    } else if (what == "output" && shape.groups.size() == 1) {
      expect_rows(expected, mixed_back(t, shape.width), tolerance, what);
    } else {
      ADD_FAILURE() << "cannot compare \"" << what << "\"";
    }
  }
  if (given.contains("gradient")) compare_gradient(t, given["dplan"], given["gradient"], tolerance);
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

// Rule R01: the plugin exports its entry point and nothing else.
TEST_P(RouterFolder, ExportsOneSymbol) {
  FILE* pipe = popen((SWITCHYARD_NM " -D --defined-only '" + plugin_file(id).string() + "'").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::vector<std::string> symbols;
  for (char line[4096]; std::fgets(line, sizeof line, pipe);) {
    std::istringstream words(line);
    std::string address, type, name;
    words >> address >> type >> name;
    symbols.push_back(name);
  }
  EXPECT_EQ(pclose(pipe), 0);
  EXPECT_EQ(symbols, std::vector<std::string>{"swy_plugin_v1"});
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
  EXPECT_EQ(paper.at("url"), "https://arxiv.org/abs/" + arxiv);
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

class RouterWithVectors : public RouterFolder {};

// Rule R20 as far as golden.json goes: the plugin gives the numbers of the vectors; each says where it is from.
TEST_P(RouterWithVectors, GivesTheirNumbers) {
  const Json golden = read_json(folder / "golden.json");
  EXPECT_FALSE(golden.at("source").get<std::string>().empty());
  size_t compared = 0;
  const std::set<std::string> elsewhere = {"given_gates",      "given_noise",      "capacity",      "sinkhorn",
                                           "sparse_transport", "capped_transport", "sparse_simplex"};
  for (const Json& given : golden.at("cases")) {
    SCOPED_TRACE(given.at("name").get<std::string>());
    EXPECT_FALSE(given.at("source").get<std::string>().empty());
    if (given.at("kind") == "router") {
      run_golden(router, given);
      ++compared;
    } else {
      EXPECT_TRUE(elsewhere.count(given.at("kind"))) << given.at("kind");
    }
  }
  EXPECT_GT(compared, 0u);
}

const auto kName = [](const ::testing::TestParamInfo<std::string>& p) { return p.param; };
INSTANTIATE_TEST_SUITE_P(Plugins, RouterFolder, ::testing::ValuesIn(folders_with("router.cc")), kName);
INSTANTIATE_TEST_SUITE_P(Plugins, RouterWithVectors, ::testing::ValuesIn(folders_with("golden.json")), kName);

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
