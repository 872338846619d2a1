#include "reports/robustness_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "reports/stress_record.h"

namespace swy::report {
namespace {

// All 75 cells at one error, and one expert lost.
std::vector<Json> full(double clean_error, double error, double moved, double lost_error) {
  std::vector<Json> cells = {stress_cell("clean", "clean", 0, 0, 1 - clean_error)};
  for (const std::string& name : main_corruptions()) add_corruption(cells, name, {error, error, error, error, error});
  for (size_t i = 1; i < cells.size(); ++i) cells[i]["churn"] = {{{"tokens", 9}, {"changed", moved}, {"moved", moved}}};
  cells.push_back(stress_cell("attack", "pgd", 0, 2, 0.25));
  cells.back()["steps"] = 5;
  cells.push_back(stress_cell("lost", "most_used_rerouted", 0, 1, 1 - lost_error));
  return cells;
}

std::string cell(const Table& table, const std::string& router, const std::string& column) {
  const auto at = std::find(table.header.begin(), table.header.end(), column);
  if (at == table.header.end()) return "no column " + column;
  for (const auto& row : table.rows)
    if (row[0] == router) return row[static_cast<size_t>(at - table.header.begin())];
  return "no row " + router;
}

bool has_note(const Table& table, const std::string& text) {
  return std::any_of(table.notes.begin(), table.notes.end(),
                     [&](const std::string& n) { return n.find(text) != std::string::npos; });
}

std::vector<Json> three_routers() {
  return {stress_record("softmax_token_choice", 1, full(0.2, 0.4, 0.3, 0.25)),
          stress_record("softmax_token_choice", 2, full(0.2, 0.42, 0.3, 0.25)),
          stress_record("none", 1, full(0.2, 0.5, 0, 0.2)),
          stress_record("none", 2, full(0.2, 0.5, 0, 0.2)),
          stress_record("hash", 1, full(0.32, 0.45, 0, 0.35)),
          stress_record("hash", 2, full(0.1, 0.47, 0, 0.15))};
}

// By hand: means of two seeds with t(1) = 12.7062 times half their distance; by the dense model 0.4 / 0.5 and
// 0.42 / 0.5; hash against softmax +0.05 in both seeds, which is worse, and clean +0.12 and -0.1, which is open.
TEST(RobustnessTables, ImagesByHand) {
  const std::vector<Table> t = robustness_tables(three_routers());
  ASSERT_EQ(t.size(), 3u);
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "clean %"), "20.00 ± 0.00");
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "mCE %"), "41.00 ± 12.71");
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "above clean %"), "+21.00 ± 12.71");
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "by clean"), "2.05");
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "by dense"), "0.820");
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "above clean by dense"), "0.700");  // 0.2 / 0.3 and 0.22 / 0.3
  EXPECT_EQ(cell(t[0], "none", "by dense"), "1.000");
  EXPECT_EQ(cell(t[0], "hash", "pgd-5 2 %"), "75.00");
  EXPECT_TRUE(has_note(t[0], "frost: made on the fly"));
  EXPECT_EQ(cell(t[1], "softmax_token_choice", "moved %"), "30.00 ± 0.00");
  EXPECT_EQ(cell(t[1], "softmax_token_choice", "1 lost, rerouted"), "+5.00 ± 0.00");
  EXPECT_EQ(cell(t[1], "softmax_token_choice", "1 lost, residual"), "no column 1 lost, residual");
  EXPECT_NE(t[2].title.find("minus softmax_token_choice"), std::string::npos);
  EXPECT_EQ(cell(t[2], "hash", "mCE %"), "+5.00 ± 0.00");
  EXPECT_EQ(cell(t[2], "hash", "clean %"), "+1.00 ± 139.77");
  EXPECT_TRUE(has_note(t[2], "mCE % - worse: hash; not separable: none"));  // none: 10 and 8 points
  EXPECT_TRUE(has_note(t[2], "clean % - not separable: hash, none"));
  EXPECT_EQ(cell(t[2], "softmax_token_choice", "mCE %"), "no row softmax_token_choice");
}

// One seed has no interval and separates nothing; without the dense model there is no column by it; the first of the
// ranking is the baseline when there is neither a softmax router nor `random`; alone, a router is compared with none.
TEST(RobustnessTables, OneSeedWithoutDense) {
  const std::vector<Json> records = {stress_record("hash", 1, full(0.2, 0.4, 0, 0.2)),
                                     stress_record("remoe", 1, full(0.2, 0.5, 0, 0.2))};
  const std::vector<Table> t = robustness_tables(records);
  ASSERT_EQ(t.size(), 3u);
  EXPECT_EQ(cell(t[0], "hash", "mCE %"), "40.00");
  EXPECT_EQ(cell(t[0], "hash", "by dense"), "no column by dense");
  EXPECT_EQ(cell(t[2], "remoe", "mCE %"), "+10.00");
  EXPECT_TRUE(has_note(t[2], "mCE % - not separable: remoe"));
  EXPECT_EQ(robustness_tables({records[0]}).size(), 2u);
}

// Fewer cells are never called mCE, be it in all records or in one; where two routers saw different conditions there is
// no difference between them.
TEST(RobustnessTables, FewerCells) {
  const auto quick = [](const std::string& label) {
    std::vector<Json> cells = {stress_cell("clean", "clean", 0, 0, 0.8), stress_cell("corruption", "fog", 3, 0, 0.5)};
    Json r = stress_record(label, 1, cells);
    r["robustness"]["level"] = "quick";
    return r;
  };
  std::vector<Table> t = robustness_tables({quick("hash"), quick("random")});
  EXPECT_EQ(cell(t[0], "hash", "mean of 1 %"), "50.00");
  EXPECT_TRUE(has_note(t[0], "not the mean corruption error"));
  EXPECT_FALSE(has_note(t[0], "frost"));
  for (const Table& table : t) EXPECT_EQ(to_text(table).find("mCE"), std::string::npos);
  t = robustness_tables({stress_record("hash", 1, full(0.2, 0.4, 0, 0.2)), quick("random")});
  EXPECT_EQ(cell(t[0], "hash", "mean of 1 to 75 %"), "40.00");
  EXPECT_EQ(cell(t[2], "hash", "mean of 1 to 75 %"), "-");
}

// What is missing stands in the notes: conditions with their reason, cells that did not end well (in the seeds column
// too, and in no mean), routers without anything. Records without stress make no table.
TEST(RobustnessTables, Missing) {
  std::vector<Json> records = three_routers();
  records[1]["status"] = {{"state", "diverged"}, {"reason", "loss"}};
  records[2]["robustness"]["cells"].push_back(
      {{"group", "early"}, {"name", "router"}, {"severity", 0}, {"value", 0}, {"reason", "no model was kept"}});
  records[4].erase("robustness"), records[5].erase("robustness");
  const std::vector<Table> t = robustness_tables(records);
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "seeds"), "1, 1 diverged");
  EXPECT_EQ(cell(t[0], "softmax_token_choice", "mCE %"), "40.00");
  EXPECT_EQ(cell(t[0], "hash", "seeds"), "no row hash");
  EXPECT_TRUE(has_note(t[0], "not measured: early router, no model was kept (none)"));
  EXPECT_TRUE(has_note(t[0], "no results under stress (hash: 2)"));
  EXPECT_TRUE(robustness_tables({records[4], records[5]}).empty());
  EXPECT_TRUE(robustness_tables({}).empty());
}

// By hand: clean loss of ln 2 nats a byte is one bit; growth 0.1 in both noises, of targets left alone 0.05 in one. A
// loss that overflowed in one of two seeds is shown as such, and nothing is said of the difference.
TEST(RobustnessTables, Text) {
  const double bit = 0.69314718055994531;
  std::vector<Json> cells = {stress_cell("clean", "clean", 0, 0, 0.5, bit),
                             stress_cell("noise", "ocr", 1, 0.1, 0.5, 1.1 * bit),
                             stress_cell("noise", "case", 1, 0.1, 0.5, 1.1 * bit),
                             stress_cell("lost", "most_used_residual", 0, 1, 0.5, 1.02 * bit),
                             stress_cell("capacity", "slots", 0, 0.5, 0.5, 1.3 * bit),
                             stress_cell("capacity", "slots", 0, 2, 0.5, 0.9 * bit)};
  cells[1]["intact"] = {{"scored", 90}, {"clean_loss", bit}, {"loss", 1.05 * bit}};
  std::vector<Json> broken = cells;
  broken[2]["loss"] = nullptr;
  const std::vector<Table> t =
      robustness_tables({stress_record("random", 1, cells, true), stress_record("random", 2, cells, true),
                         stress_record("remoe", 1, cells, true), stress_record("remoe", 2, broken, true)});
  ASSERT_EQ(t.size(), 3u);
  EXPECT_EQ(cell(t[0], "random", "clean bits/byte"), "1.0000 ± 0.0000");
  EXPECT_EQ(cell(t[0], "random", "growth %"), "+10.00 ± 0.00");
  EXPECT_EQ(cell(t[0], "random", "intact growth %"), "+7.50 ± 0.00");
  EXPECT_EQ(cell(t[0], "remoe", "growth %"), "not finite");
  EXPECT_TRUE(has_note(t[0], "not finite: the loss under some condition (remoe)"));
  EXPECT_EQ(cell(t[1], "random", "1 lost, residual"), "+2.00 ± 0.00");
  EXPECT_EQ(cell(t[1], "random", "capacity 0.5/2"), "+30.0/-10.0");
  EXPECT_EQ(cell(t[2], "remoe", "growth %"), "-");
  EXPECT_EQ(to_text(t[0]).find("mCE"), std::string::npos);
  EXPECT_TRUE(has_note(t[0], "(2 conditions)"));
  cells.resize(2);
  EXPECT_TRUE(has_note(robustness_tables({stress_record("random", 1, cells, true)})[0], "(1 condition)"));
}

}  // namespace
}  // namespace swy::report
