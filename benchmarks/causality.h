// Whether a router is causal, as records and lists say it. Of text only: a language model that sees later tokens, in
// training or when it is scored, is not to be compared with one that does not.
#pragma once
#include <string>

#include "core/base/json.h"
#include "core/moe/routed_site.h"

namespace swy::bench {

// {"train": {"causal", "reason"}, "score": {"causal", "reason"}}: causal is true, or false with the router's reason, or
// null where it makes no claim (no SWY_CAP_CAUSAL). Of a model: at the first site that has a reason; a model without
// sites is causal.
Json causality_of(const std::vector<moe::Site*>&);
// Of a router with its presets, at a small site whose experts have room for every token: where room runs short, more
// routers see later tokens, which the record of a run says. Null when the router refuses that site.
Json causality_of(const swy_router&);

// "causal", "causal in evaluation", "not causal"; empty without a claim.
std::string causality_text(const Json& causality);

}  // namespace swy::bench
