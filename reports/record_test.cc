#include "reports/record.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/files.h"
#include "reports/headline.h"
#include "reports/table.h"

namespace swy::report {
namespace {
namespace fs = std::filesystem;

Json example(const std::string& label, int seed, double accuracy) {
  Json r = Json::parse(R"({
    "schema": "switchyard.record", "version": "1.0.0", "id": "x", "suite": "s", "seed": 1, "threads": 2,
    "identity": {"router": "r", "label": "r", "options": {"k": "1"}, "plugin": null, "abi": {"major": 1, "minor": 0}},
    "task": {"id": "t", "dataset": "planted_patches", "sha256": null},
    "status": {"state": "ok", "reason": null},
    "budget": {"asked_flops": 10, "spent_flops": 9, "steps": 3, "images": 30,
               "work": {"model": {"forward": {"flops": 3, "bytes": 1}}, "experts": {"forward": {"flops": 1, "bytes": 1}}}},
    "metrics": [], "curve": [], "sites": [], "timing": {"metrics": []}, "environment": {}, "created": "now",
    "command": ["switchyard"], "cell": {}
  })");
  r["identity"]["label"] = r["identity"]["router"] = label;
  r["seed"] = seed;
  r["metrics"].push_back({{"name", "test_accuracy"}, {"value", accuracy}, {"unit", "1"}, {"higher_is_better", true}});
  return r;
}

struct Records : testing::Test {
  fs::path directory = fs::temp_directory_path() / ("switchyard_records_" + std::to_string(getpid()));
  Records() { fs::create_directories(directory); }
  ~Records() override { fs::remove_all(directory); }
};

// Proves that a record comes back as it was, and that NaN and Infinity are null in the file.
TEST_F(Records, RoundTripWithoutNaN) {
  Json r = example("a", 1, std::nan(""));
  r["timing"]["rate"] = INFINITY;
  write_record(directory / "a.json", r);
  const Json back = read_record(directory / "a.json");
  EXPECT_TRUE(back["metrics"][0]["value"].is_null());
  EXPECT_TRUE(back["timing"]["rate"].is_null());
  EXPECT_TRUE(std::isnan(metric(back, "test_accuracy")));
  r["metrics"][0]["value"] = nullptr;
  r["timing"]["rate"] = nullptr;
  EXPECT_EQ(back, r);
}

// Proves that a record of another major version is refused with both versions named, and one of a later minor is not.
TEST_F(Records, Versions) {
  Json r = example("a", 1, 0.5);
  r["version"] = "2.0.0";
  write_atomically(directory / "a.json", r.dump());
  try {
    read_record(directory / "a.json");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    EXPECT_NE(std::string(e.what()).find("record version 2.0.0; this program reads version 1.x"), std::string::npos)
        << e.what();
  }
  r["version"] = "1.7.0";
  write_atomically(directory / "a.json", r.dump());
  EXPECT_EQ(read_record(directory / "a.json"), r);
}

// Proves that what does not match the schema is neither written nor read, and leaves no file.
TEST_F(Records, SchemaIsEnforced) {
  Json r = example("a", 1, 0.5);
  r["metrics"][0].erase("unit");
  EXPECT_THROW(write_record(directory / "a.json", r), Error);
  EXPECT_TRUE(fs::is_empty(directory));
  write_atomically(directory / "a.json", r.dump());
  EXPECT_THROW(read_record(directory / "a.json"), Error);
}

// Proves that a directory is read in order of names and that JSON files of other kinds are left out.
TEST_F(Records, Directory) {
  fs::create_directories(directory / "suite");
  write_record(directory / "suite" / "b.json", example("b", 2, 0.5));
  write_record(directory / "suite" / "a.json", example("a", 1, 0.5));
  write_atomically(directory / "bench.json", "{\"schema\": \"other\"}");
  const std::vector<Json> all = read_records(directory);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["seed"], 1);
  EXPECT_THROW(read_records(directory / "missing"), Error);
}

// Proves the summary on numbers done by hand: means, interval (t = 4.302653 for three seeds), verdicts against
// `random`, shares of compute, and that a crashed cell is counted but not averaged.
TEST_F(Records, Summary) {
  std::vector<Json> records;
  for (int s = 1; s <= 3; ++s) {
    records.push_back(example("random", s, 0.10 * s));
    records.push_back(example("learned", s, 0.10 * s + 0.05 + 0.001 * s));
    records.push_back(example("same", s, 0.10 * s + (s == 2 ? -0.01 : 0.01)));
  }
  records.push_back(example("learned", 4, 0));
  records.back()["status"] = {{"state", "crashed"}, {"reason", "SIGSEGV"}};
  const std::vector<Table> tables = summary(records);
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_EQ(tables[0].title, "s, t");
  ASSERT_EQ(tables[0].rows.size(), 3u);
  const auto& best = tables[0].rows[0];
  EXPECT_EQ(best[0], "learned");
  EXPECT_EQ(best[1], "3, 1 crashed");
  EXPECT_EQ(best[2], "25.20 ± 25.09");                    // std 10.1, 4.302653 * 10.1 / sqrt(3)
  EXPECT_EQ(best[3], "+5.20 ± 0.25 better");              // differences 5.1 5.2 5.3: std 0.1
  EXPECT_EQ(tables[0].header[4], "train FLOPs m/e/r %");  // no record has a loss: no column of it
  EXPECT_EQ(best[4], "75/25/0.0");
  EXPECT_EQ(tables[0].rows[1][0], "same");
  EXPECT_EQ(tables[0].rows[1][3], "+0.33 ± 2.87 not separable");  // 1, -1, 1: std 1.1547
  EXPECT_EQ(tables[0].rows[2][3], "");
}

// Proves that a task of text is ranked by its own headline in its own direction (fewer bits are better, so the sign of
// a better difference is minus), with columns per token, and that its note says what was evaluated.
TEST_F(Records, SummaryOfText) {
  std::vector<Json> records;
  for (int s = 1; s <= 3; ++s) {
    for (const auto& [label, bits] : {std::pair{"random", 2.0 + 0.1 * s}, {"learned", 1.9 + 0.1 * s - 0.001 * s}}) {
      Json r = example(label, s, 0);
      r["task"].update({{"unit", "token"},
                        {"headline", "bits_per_byte"},
                        {"split", "90/5/5 %"},
                        {"evaluated_split", "valid"},
                        {"context", 64},
                        {"stride", 32}});
      r["budget"].erase("images");
      r["budget"]["tokens"] = 30;
      r["metrics"] = Json::array();
      for (const auto& [name, value] : {std::pair{"bits_per_byte", bits}, {"token_loss", bits * 0.5}})
        r["metrics"].push_back({{"name", name}, {"value", value}, {"unit", "bit"}, {"higher_is_better", false}});
      write_record(directory / (std::string(label) + std::to_string(s) + ".json"), r);
      records.push_back(r);
    }
  }
  const Table table = summary(records).at(0);
  const std::vector<std::string> header = {"router",       "seeds",      "bits/byte",
                                           "minus random", "nats/token", "train FLOPs m/e/r %"};
  EXPECT_EQ(std::vector<std::string>(table.header.begin(), table.header.begin() + 6), header);
  EXPECT_EQ(table.header[6], "MFLOPs/token");
  EXPECT_EQ(table.rows[0][0], "learned");
  EXPECT_EQ(table.rows[0][2], "2.0980 ± 0.2459");          // std 0.099, 4.302653 * 0.099 / sqrt(3)
  EXPECT_EQ(table.rows[0][3], "-0.1020 ± 0.0025 better");  // differences -0.101 -0.102 -0.103
  EXPECT_EQ(table.rows[0][4], "1.0490");
  EXPECT_NE(table.notes[0].find("valid split of planted_patches (90/5/5 %), windows of 64 tokens, advancing by 32"),
            std::string::npos)
      << table.notes[0];
  EXPECT_EQ(scores_text(records[0]), "bits per byte 2.1000, nats per token 1.0500");
}

// Proves that a table of text marks routers that see later tokens, each with its own reason, and those that make no
// claim, and leaves causal ones, and records that do not say, without a mark.
TEST_F(Records, CausalityMarks) {
  const Json yes = {{"causal", true}, {"reason", nullptr}}, unknown = {{"causal", nullptr}, {"reason", nullptr}};
  const auto no = [](const char* why) { return Json{{"causal", false}, {"reason", why}}; };
  const std::vector<std::pair<std::string, Json>> rows = {
      {"pool", {{"train", no("a pool")}, {"score", no("the pool")}}},
      {"auction", {{"train", no("an auction")}, {"score", yes}}},
      {"free", {{"train", yes}, {"score", yes}}},
      {"silent", {{"train", unknown}, {"score", unknown}}},
      {"old", nullptr}};
  std::vector<Json> records;
  for (const auto& [label, causality] : rows) {
    records.push_back(example(label, 1, 0.9 - 0.1 * static_cast<double>(records.size())));
    if (!causality.is_null()) records.back()["causality"] = causality;
    write_record(directory / (label + ".json"), records.back());
  }
  const Table table = summary(records).at(0);
  std::vector<std::string> labels;
  for (const auto& row : table.rows) labels.push_back(row[0]);
  EXPECT_EQ(labels, (std::vector<std::string>{"pool†", "auction‡", "free", "silent?", "old"}));
  ASSERT_EQ(table.notes.size(), 5u);
  EXPECT_EQ(table.notes[1].substr(table.notes[1].size() - 17), ": pool (the pool)") << table.notes[1];
  EXPECT_EQ(table.notes[2], "‡ later tokens reach earlier ones in training only: auction (an auction)");
  EXPECT_EQ(table.notes[3], "? makes no claim to be causal: silent");
}

// Proves the alignment: columns end at the same place although one cell holds a character of two bytes.
TEST(TableText, Aligned) {
  const Table t{"title", {"name", "value"}, {{"a", "1 ± 2"}, {"long name", "3"}}, {"note"}};
  EXPECT_EQ(to_text(t), "title\nname       value\na          1 ± 2\nlong name      3\nnote\n");
  EXPECT_EQ(to_markdown(t), "### title\n\n| name | value |\n|:--|--:|\n| a | 1 ± 2 |\n| long name | 3 |\n\nnote\n");
}

}  // namespace
}  // namespace swy::report
