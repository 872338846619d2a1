// Who competes with whom, and what a token's plan may depend on at all: pools, segments, and tables of token ids.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

std::string gate_of(const Promise& p) { return p.value_or<std::string>("gate", "gate"); }

// All sequences' tokens of one position are a pool with exact loads, one expert per token, and no other position
// matters. gate.
void position_pool(const Promise& p) {
  constexpr int kSequences = 8, kTokens = 5;
  Trial t(p, {4, 4, std::vector<int32_t>(kSequences, kTokens)});
  t.identity(gate_of(p)), t.draw(1), t.run();
  std::map<std::pair<int, int>, int> n;
  for (size_t i = 0; i < t.last().row.size(); ++i) ++n[{t.last().row[i] % kTokens, t.last().expert[i]}];
  p.equal(n.size(), size_t{kTokens * 4}, "the number of pools and experts that meet");
  for (const auto& [pool, tokens] : n) p.equal(tokens, kSequences / 4, "expert ", pool.second, "'s load at a position");
  const auto before = t.experts();
  for (int s = 0; s < kSequences; ++s)
    for (int j = 0; j < 8; ++j)  // positions 3 and 4
      t.x[static_cast<size_t>((s * kTokens + 3) * 4 + j)] += static_cast<float>(10 * ((s + j) % 3));
  t.run();
  const auto after = t.experts();
  bool moved = false;
  for (size_t i = 0; i < before.size(); ++i) {
    if (i % kTokens < 3) p.equal(after[i], before[i], "the choice of token ", i, ", whose position is as it was,");
    moved = moved || after[i] != before[i];
  }
  p.expect(moved, "no choice moves at the positions that were changed: nothing is shown");
}

// Training takes each expert's exact share of a group and moves the cutoffs; evaluation compares each token with them
// alone: above, not at, them. gate.
void threshold_pool(const Promise& p) {
  Trial t(p, {4, 4, {16}});
  t.identity(gate_of(p)), t.draw(1), t.run();
  p.equal(t.loads(), std::vector<int>(4, 4), "the load in training");
  t.after_step(), t.run(SWY_SCORE);
  p.equal(t.loads(), std::vector<int>(4, 3), "the load of the same batch in evaluation");
  const auto before = t.experts();
  for (size_t i = 8 * 4; i < t.x.size(); ++i) t.x[i] = -t.x[i];
  t.run(SWY_SCORE);
  for (size_t i = 0; i < 8; ++i) p.equal(t.experts()[i], before[i], "the choice of token ", i, " among other tokens");
}

// With fixed cutoffs a token has the experts whose sigmoid score is above them: alone, in a batch, in training and in
// evaluation, and perhaps none. tensor: the cutoffs. gate.
void fixed_cutoffs(const Promise& p) {
  Trial batch(p, {4, 4, {32}}), alone(p, {4, 4, {1}});
  const std::vector<float> cutoff = {.4f, .5f, .6f, .7f};
  for (Trial* t : {&batch, &alone}) t->identity(gate_of(p)), t->tensor(p.as<std::string>("tensor")).value = cutoff;
  batch.draw(1);
  bool idle = false;
  for (const int32_t phase : p.phases()) {
    batch.run(phase);
    for (int32_t i = 0; i < 32; ++i) {
      const Row row = batch.row(i);
      std::vector<int> want, got = batch.experts()[static_cast<size_t>(i)];
      for (int e = 0; e < 4; ++e)
        if (sigmoid(row[static_cast<size_t>(e)]) > double{cutoff[static_cast<size_t>(e)]}) want.push_back(e);
      std::sort(got.begin(), got.end());
      p.equal(got, want, "token ", i, "'s experts in a batch");
      std::copy(row.begin(), row.end(), alone.x.begin());
      alone.run(phase), got = alone.experts()[0], std::sort(got.begin(), got.end());
      p.equal(got, want, "token ", i, "'s experts alone");
      idle = idle || want.empty();
    }
  }
  p.expect(idle, "every token has an expert: nothing is shown");
}

// Which segments' mixes change when a token does: a segment's depends on the one before it in its sequence, and the
// first on no token, or on its own where "first_leaks". segment: tokens of one, set by the option of that name (4).
void segments(const Promise& p) {
  const bool leaks = p.value_or("first_leaks", false);
  Trial t = Trial::drawn(p, {3, 4, {11, 7}}, {{"segment", "4"}});  // rows: 3 of the first sequence, then 2
  const std::vector<float> before = t.run().mix;
  p.equal(before.size(), size_t{5 * 4}, "the size of the mix");
  const std::vector<float> x = t.x;
  auto reached = [&](size_t token) {
    for (size_t i = 0; i < 3; ++i) t.x[token * 3 + i] += 1;
    const std::vector<float> after = t.run().mix;
    t.x = x;
    std::set<int> rows;
    for (size_t i = 0; i < after.size(); ++i)
      if (after[i] != before[i]) rows.insert(static_cast<int>(i / 4));
    return rows;
  };
  using Rows = std::set<int>;
  p.equal(reached(0), leaks ? Rows{0, 1} : Rows{1}, "the segments that token 0 reaches");
  p.equal(reached(3), leaks ? Rows{0, 1} : Rows{1}, "the segments that token 3 reaches");
  p.equal(reached(6), Rows{2}, "the segments that token 6 reaches");
  p.equal(reached(10), Rows{}, "the segments that the last token reaches");
  p.equal(reached(11), leaks ? Rows{3, 4} : Rows{4}, "the segments that the second sequence's first token reaches");
  for (size_t e = 0; e < 4 && !leaks; ++e)
    p.equal(before[3 * 4 + e], before[e], "the mix of the second sequence's first segment");
}

// From `frozen` on the same id goes to the same expert whatever its context, in training and evaluation; neither
// updates nor other parameters move it. learning: a progress before that. parameters: tensors that are changed.
void table_of_ids(const Promise& p) {
  const double learning = p.as<double>("learning"), frozen = p.as<double>("frozen");
  Trial t = Trial::drawn(p, {3, 3, {20}, 0, 5});
  for (size_t i = 0; i < 20; ++i) t.token_id[i] = static_cast<int32_t>(i * 7 + 3) % 5;
  t.progress = learning, t.run(), t.after_step();
  t.progress = frozen, t.run();
  std::map<int, std::vector<int>> expert_of;
  for (size_t i = 0; i < 20; ++i) expert_of[t.token_id[i]] = t.experts()[i];
  for (const uint64_t seed : {2, 3}) {
    t.draw(seed), t.run(), t.after_step();
    uint64_t other = 100 * seed;  // drawn anew one by one: turning the sign of two factors would leave their product
    for (const auto& name : p.as<std::vector<std::string>>("parameters")) t.draw(name, ++other);
    for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
      t.run(phase);
      for (size_t i = 0; i < 20; ++i)
        p.equal(t.experts()[i], expert_of[t.token_id[i]], "the choice of id ", t.token_id[i], " in another context");
    }
  }
  std::set<std::vector<int>> distinct;
  for (const auto& [id, experts] : expert_of) distinct.insert(experts);
  p.expect(distinct.size() > 1, "all ids go to one expert: nothing is shown");
}

// A student sees the id alone. Training goes by the teacher's scores, evaluation by the student, and the table that is
// left is the student's; its cross-entropy falls to the entropy of the teacher given the id and no further, without a
// gradient to the teacher. loss; gate: the teacher's tensor; student: its tensors; frozen: as in table_of_ids.
void student(const Promise& p) {
  const auto names = p.as<std::vector<std::string>>("student");
  Trial t(p, {3, 3, {8}, 0, 2});
  t.identity(gate_of(p));
  const std::vector<int> teacher = {0, 0, 0, 1, 1, 2, 2, 2}, id = {0, 0, 0, 0, 1, 1, 1, 1};
  Matrix rows(8, std::vector<float>(3));
  for (size_t i = 0; i < 8; ++i) rows[i][static_cast<size_t>(teacher[i])] = 2, t.token_id[i] = id[i];
  for (const auto& name : names) t.draw(name, 17);
  t.set(rows);
  const auto loss = p.as<std::string>("loss");
  for (int step = 0; step < 400; ++step) {
    t.run(), t.zero_grads(), t.backward(t.only_loss(loss));
    for (const float d : t.dx) p.expect(d == 0, "the student's loss has a gradient at the teacher's input");
    for (const auto& name : names)
      for (size_t i = 0; i < t.tensor(name).value.size(); ++i) t.tensor(name).value[i] -= t.tensor(name).grad[i];
  }
  t.run();
  for (size_t i = 0; i < 8; ++i) p.equal(t.experts()[i], {teacher[i]}, "training's choice of token ", i);
  // Of each id, three tokens are of one expert and one is of another.
  const double entropy = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));
  p.expect(t.loss(loss) >= entropy - 1e-5 && t.loss(loss) <= entropy + 0.02, "the student's loss is ", t.loss(loss),
           "; the entropy of the teacher given the id is ", entropy);
  t.run(SWY_SCORE);
  const auto by_student = t.experts();
  for (size_t i = 0; i < 8; ++i) p.equal(by_student[i], {id[i] ? 2 : 0}, "evaluation's choice of token ", i);
  t.run(), t.after_step();
  t.progress = p.as<double>("frozen");
  t.run();
  p.equal(t.experts(), by_student, "the choice by the table");
}

// Tables of ids made after a first share of training. Before that the plan is the hash's.
struct TableTrial : Trial {
  TableTrial(const Promise& p, const OptionText& more) : Trial(p, {2, 3, {60}, 0, 8}, more) {
    for (size_t t = 0; t < 60; ++t) {
      token_id[t] = t < 24 ? 0 : t < 36 ? 1 : t < 42 ? 2 : 3 + static_cast<int32_t>(t % 4);  // 7: never
      const int kind = token_id[t] % 3;  // ids 0, 3 and 6 look alike, as do 1 and 4, and 2 and 5
      x[2 * t] = (kind == 1 ? 10.f : 0.f) + 0.01f * static_cast<float>(t % 5);
      x[2 * t + 1] = kind == 2 ? 10.f : 0.f;
    }
  }
  void build(double collected) {
    progress = 0, run(), after_step();
    progress = collected, run(), after_step();
    run();
  }
};

// Greedy by frequency: no expert has more than the mean and the most frequent id, loads are the table's own counts, and
// the table never changes again. table, count: tensors. collected: the progress from which it is made. before: options
// that give what holds until then.
void frequency_table(const Promise& p) {
  const double collected = p.as<double>("collected");
  OptionText before;
  const Json given = p.value("before");
  for (const auto& [name, v] : given.items()) before[name] = v.get<std::string>();
  TableTrial t(p, {}), random(p, before);
  t.run(), random.run();
  p.equal(t.experts(), random.experts(), "the choice before the table is made");
  t.build(collected);
  const auto& table = t.tensor(p.as<std::string>("table")).value;
  const auto& count = t.tensor(p.as<std::string>("count")).value;
  p.equal(count[0], 24.f, "the count of the most frequent id");
  p.equal(t.loads(), {24, 12 + 4 + 4, 6 + 5 + 5}, "the load, by hand from counts 24 12 6 4 4 5 5 0,");
  std::vector<int> by_table(3);
  for (size_t v = 0; v < 8; ++v)
    if (table[v] >= 0) by_table.at(static_cast<size_t>(table[v])) += static_cast<int>(count[v]);
  p.equal(by_table, t.loads(), "the table's sum of counts");
  p.expect(*std::max_element(by_table.begin(), by_table.end()) <= 20 + 24,
           "an expert has more than the mean and one id");
  const auto kept = table;
  const auto experts = t.experts();
  t.draw(1), t.progress = 0.7, t.run(), t.after_step(), t.run(SWY_SCORE);
  p.equal(t.experts(), experts, "the choice after more training");
  p.equal(table, kept, "the table after more training");
}

// Ids whose inputs look alike share an expert, those that do not have others; an id that was never seen has no entry.
// table: tensor. collected: as in frequency_table.
void cluster_table(const Promise& p) {
  TableTrial t(p, {});
  t.build(p.as<double>("collected"));
  const auto& table = t.tensor(p.as<std::string>("table")).value;
  for (const auto& [one, other] : {std::pair<size_t, size_t>{0, 3}, {0, 6}, {1, 4}, {2, 5}})
    p.equal(table[one], table[other], "the expert of id ", one, ", which looks like id ", other, ",");
  p.equal(std::set<float>{table[0], table[1], table[2]}.size(), size_t{3}, "the number of experts of unlike ids");
  p.equal(table[7], -1.f, "the entry of an id that was never seen");
}

// The expert is the planted cluster modulo E. Data without clusters are refused.
void planted_clusters(const Promise& p) {
  Trial t = Trial::drawn(p, {2, 3, {16}});
  for (size_t i = 0; i < 16; ++i) t.cluster[i] = static_cast<int32_t>(i * 3) % 4;
  for (const int32_t phase : p.phases()) {
    t.run(phase);
    for (size_t i = 0; i < 16; ++i) p.equal(t.experts()[i], {t.cluster[i] % 3}, "the choice of cluster ", t.cluster[i]);
  }
  swy_site bare = t.site();
  bare.n_clusters = 0;
  Instance instance(p.router, p.options(), 1);
  try {
    instance.needs(bare);
  } catch (const Error&) {
    return;
  }
  p.fail("data without planted clusters are accepted");
}

}  // namespace

std::vector<Property> pool_oracles() {
  return {{"position_pool", "Tokens compete with those of their position alone, for exact loads.", position_pool},
          {"threshold_pool", "Evaluation compares each token with cutoffs that training has left.", threshold_pool},
          {"fixed_cutoffs", "With fixed cutoffs a token's plan depends on itself alone.", fixed_cutoffs},
          {"segments", "A segment's mix depends on the segment before it alone.", segments},
          {"table_of_ids", "In the second stage an id goes to one expert whatever its context.", table_of_ids},
          {"student", "The student learns the teacher down to its entropy given the id.", student},
          {"frequency_table", "A table made by frequency is balanced up to the most frequent id.", frequency_table},
          {"cluster_table", "A table made by clusters keeps ids together that look alike.", cluster_table},
          {"planted_clusters", "The expert is the token's planted cluster.", planted_clusters}};
}

}  // namespace swy::conform
