// Control: a fixed expert for each token id, or for each position where tokens have no ids (images). Routing that is
// stable but learns nothing. The table is a hash, or is made once from the tokens of the first part of training:
// balanced by frequency, or by clusters of the ids' mean inputs. The making runs on the CPU.
#include "core/sdk/router.h"

#include "plugins/hash/tables.h"

namespace {

// [ids, n]: the sum of x[T, n] over the tokens of each id, padding left out.
swy::Tensor sum_by_id(swy::Tensor id, swy::Tensor x, int64_t ids) {
  swy::Graph& g = *x.graph;
  swy::Tensor y = g.tensor(ids, x.cols()), real = g.tensor(g.T, x.cols());
  g.node({x}, {y, real}, {}, [=](swy::Call& c) {
    c.ok(c.op->mask_rows(c.exec, c.tokens(), c.cols(x), c.mask(x), 0, c.f(x), c.f(real)));
    c.ok(c.op->fill(c.exec, c.size(y), 0, c.f(y)));
    c.ok(c.op->scatter_add_rows(c.exec, c.tokens(), ids, c.cols(x), c.i(id), c.f(real), c.f(y)));
  });
  return y;
}

}  // namespace

struct Hash : swy::Router {
  swy::Option<swy::Choice> key{this, "key", "token", "token|position",
                               "what is hashed; data without token ids always uses the position"};
  swy::Option<int> salt{this, "salt", 0, {0, 1 << 30}, "another value, another table"};
  swy::Option<swy::Choice> table{this, "table", "random", "random|balanced|clustered", "how ids are shared out"};
  swy::Option<float> collect{this,
                             "collect",
                             0.05,
                             {0.001, 1},
                             "share of training that counts tokens before the balanced or clustered table is built"};

  int stages() const override { return table == "random" ? 1 : 2; }  // the first of two counts
  int stage(const swy::Moment& m) const override {
    return stages() == 2 && static_cast<float>(m.progress) >= collect ? 1 : 0;
  }

  void route(swy::Graph& g) override {
    const bool by_position = key == "position" || !g.has_token_ids();
    const uint64_t salted = static_cast<uint64_t>(int{salt}) * 1000003 + static_cast<uint64_t>(g.site.site);
    auto random = hashed(g, by_position, salted);
    if (table == "random") return assign(random);
    const int64_t ids = by_position ? g.site.max_position : g.site.vocabulary;
    auto id = by_position ? g.position() : g.token_id();
    auto held = rows_of(g.buffer("table", ids, 1, swy::constant(-1)), id), known = step(held, -0.5f);
    g.buffer("count", ids, 1, swy::zeros_start());
    if (table == "clustered") g.buffer("total", ids, g.D, swy::zeros_start());
    if (g.training && g.stage == 0) {
      g.remember("count", sum_by_id(id, filled(g, g.T, 1, 1), ids));
      if (table == "clustered") g.remember("total", sum_by_id(id, detach(g.x), ids));
    }
    assign(swy::choose(to_integers(known * held + (1 - known) * to_float(random.index))));
  }

  void update(swy::Graph& g) override {
    if (table == "random") return;
    const bool clusters = table == "clustered";
    auto held = g.state("table"), count = g.state("count"), total = clusters ? g.state("total") : count;
    if (g.stage == 0) {
      g.store(count, count + g.recall("count"));
      if (clusters) g.store(total, total + g.recall("total"));
      return;
    }
    const int64_t ids = count.rows().scale, width = clusters ? total.cols() : 1, experts = g.E;
    auto made = g.tensor(ids, 1), centre = g.tensor(experts, width), sum = g.tensor(experts, width),
         load = g.tensor(experts, 1), order = g.integers(ids, 1);
    g.custom(
        {held, count, total}, {made, centre, sum, load, order}, {},
        [=](swy::Call& c) {
          std::copy(c.f(held), c.f(held) + ids, c.f(made));
          if (std::any_of(c.f(held), c.f(held) + ids, [](float e) { return e >= 0; })) return;  // it stays
          swy::tables::by_frequency(c.f(count), ids, c.i(order));
          if (clusters)
            swy::tables::cluster(c.f(count), c.f(total), ids, experts, width, c.i(order), c.f(centre), c.f(sum),
                                 c.f(load), c.f(made));
          else
            swy::tables::balance(c.f(count), ids, experts, c.i(order), c.f(load), c.f(made));
        },
        [=](const swy::Call&) {
          return swy::Cost{static_cast<double>(ids), 8.0 * static_cast<double>(ids)};
        });
    g.store(held, made);
  }
};
SWY_ROUTER(Hash, "hash", "Hash layer (control)", "1.1.0", "Roller et al. 2021, Hash Layers For Large Sparse Models",
           SWY_CAP_CAUSAL)
