// The properties of oracle.h as cases: oracle.<property> for each router that declares it, and one case that looks at
// the declaration itself.
#include <algorithm>

#include "core/base/suggest.h"
#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

std::vector<Property> all_properties() {
  std::vector<Property> all;
  for (auto* theme : {selection_oracles, loss_oracles, load_oracles, state_oracles, pool_oracles, chance_oracles,
                      code_oracles, block_oracles})
    for (const Property& p : theme()) all.push_back(p);
  return all;
}

// A misspelt name would be a promise that nobody checks.
void names_are_known(const Subject& s, const CaseContext& c) {
  const std::set<std::string> declared = declared_oracles(s.files);
  if (declared.empty()) skip("no router.json of it declares oracles (plugins/README.md says how)");
  std::vector<std::string> known;
  for (const Property& p : all_properties()) known.push_back(p.name);
  for (const std::string& name : declared)
    if (std::find(known.begin(), known.end(), name) == known.end())
      broken(kOracleRule, "router.json declares the oracle '", name, "', which does not exist",
             suggestion(name, known));
  c.note("declared", declared);
}

void keep(const Property& property, const Subject& s, const CaseContext& c) {
  if (!declared_oracles(s.files).count(property.name))
    skip("its router.json does not declare the oracle '", property.name, "'");
  const Json oracles = read_json(s.files / "router.json").at("oracles");
  const Json given = oracles.is_object() ? oracles.at(property.name) : Json::object();
  for (const Json& claim : given.is_array() ? given : Json::array({given})) {
    const Promise promise(*s.router, claim, c);
    property.check(promise);
    promise.all_read();
  }
}

}  // namespace

std::vector<Case> oracle_cases() {
  std::vector<Case> cases = {{"oracle.declared", "oracle", kOracleRule, "The oracles that router.json declares exist.",
                              names_are_known, false}};
  for (const Property& p : all_properties())
    cases.push_back({"oracle." + p.name, "oracle", kOracleRule, p.doc,
                     [p](const Subject& s, const CaseContext& c) { keep(p, s, c); }, true, p.name});
  return cases;
}

}  // namespace swy::conform
