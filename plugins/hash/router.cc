// Control: a fixed expert for each token id, or for each position where tokens have no ids (images). Routing that
// is stable but learns nothing.
#include "core/sdk/router.h"

struct Hash : swy::Router {
  swy::Option<swy::Choice> key{this, "key", "token", "token|position",
                               "what is hashed; data without token ids always uses the position"};
  swy::Option<int> salt{this, "salt", 0, {0, 1 << 30}, "another value, another table"};

  void route(swy::Graph& g) override {
    const uint64_t table = static_cast<uint64_t>(int{salt}) * 1000003 + static_cast<uint64_t>(g.site.site);
    assign(hashed(g, key == "position", table));
  }
};
SWY_ROUTER(Hash, "hash", "Hash layer (control)", "1.0.0", "Roller et al. 2021, Hash Layers For Large Sparse Models",
           SWY_CAP_CAUSAL)
