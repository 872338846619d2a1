// What a router's equations promise, beyond the rules that hold for all. The kit knows properties, not routers: a
// router.json declares the ones its router has, with what the property needs to know, and each becomes a case:
//
//   "oracles": {
//     "weights_sum": {},
//     "scale_invariant": [{"of": "x"}, {"of": "x", "options": {"normalise": "experts"}, "weights": false}]
//   }
//
// An array of claims is checked claim by claim. ["weights_sum", "one_expert"] is short for claims without parameters.
// Every claim may have `options` of the router and a `progress` of training [0, 1]. What else a property reads stands
// at its function; a parameter that none reads is an error. A property holds its router against a plain reference in
// double precision, made from the definition and from nothing of the router.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {

// The rule that such cases quote: a broken promise breaks no rule of the ABI, but the router's own definition.
inline const char* const kOracleRule = "oracle";

// One claim of one router, and the verdict on it.
class Promise {
 public:
  Promise(const swy_router&, const Json& given, const CaseContext&);

  const swy_router& router;
  const CaseContext& context;
  // The claim's options overlaid with `more`.
  OptionText options(const OptionText& more = {}) const;
  bool has(const std::string& parameter) const;
  // Throw Broken where the parameter is missing and there is no fallback, or is of another type.
  Json value(const std::string& parameter) const;
  template <class T>
  T value_or(const std::string& parameter, const T& fallback) const {
    return has(parameter) ? as<T>(parameter) : fallback;
  }
  template <class T>
  T as(const std::string& parameter) const {
    try {
      return value(parameter).get<T>();
    } catch (const Json::exception&) {
      fail("router.json: '", parameter, "' is ", value(parameter).dump(), ", which is of the wrong type");
    }
  }
  // The phases that "phase" asks for: "train", "score", or both where it is left out.
  std::vector<int32_t> phases() const;
  void all_read() const;  // throws Broken on a parameter that nothing has asked for

  template <class... Args>
  [[noreturn]] void fail(const Args&... args) const {
    broken(kOracleRule, args..., where());
  }
  template <class... Args>
  void expect(bool holds, const Args&... args) const {
    if (!holds) fail(args...);
  }
  // |got - want| <= tolerance; not where either is not a number.
  template <class... Args>
  void near(double got, double want, double tolerance, const Args&... args) const {
    if (!(got - want <= tolerance && want - got <= tolerance)) fail(args..., " is ", got, ", not ", want);
  }
  template <class T, class... Args>
  void equal(const T& got, const T& want, const Args&... args) const {
    if (!(got == want)) fail(args..., " is ", Json(got).dump(), ", not ", Json(want).dump());
  }

 private:
  std::string where() const;
  const Json given_;
  mutable std::set<std::string> read_;
};

struct Property {
  std::string name;  // "scale_invariant"
  std::string doc;   // one sentence
  void (*check)(const Promise&);
};

// By theme, one file each.
std::vector<Property> selection_oracles();  // who is chosen and what a choice weighs
std::vector<Property> loss_oracles();       // auxiliary losses, and where gradients are zero
std::vector<Property> load_oracles();       // how many tokens an expert gets
std::vector<Property> state_oracles();      // what moves by other rules than the gradient
std::vector<Property> pool_oracles();       // who competes with whom: pools, segments, tables
std::vector<Property> chance_oracles();     // what is drawn
std::vector<Property> code_oracles();       // codebooks
std::vector<Property> block_oracles();      // whole blocks: growing, competing, costless and sampled experts

// The names that a router.json of this folder declares; none without one. Throws Broken when "oracles" is neither an
// array of names nor an object, Error when the file cannot be read.
std::set<std::string> declared_oracles(const std::filesystem::path& files);

using Row = std::vector<double>;
using Matrix = std::vector<std::vector<float>>;

// A site of one group for each entry of `groups`, a group being one sequence. No capacity bound but what the router
// asks for itself.
struct OracleSite {
  int32_t width = 4, experts = 4;
  std::vector<int32_t> groups = {16};  // tokens
  int32_t capacity = 0;                // 0: the tokens of the largest group
  int32_t vocabulary = 50;
};

// A router by hand. x, ids and clusters are drawn.
class Trial : public Rig {
 public:
  enum class Start {
    kPlain,  // tensors start at their constant, or at 0: `identity` then makes x [T, E] the scores themselves
    kDrawn,  // as a Rig draws them, where any values will do
  };
  Trial(const Promise&, const OracleSite&, const OptionText& more = {}, Start = Start::kPlain);
  static Trial drawn(const Promise& p, const OracleSite& site, const OptionText& more = {}) {
    return {p, site, more, Start::kDrawn};
  }

  void identity(const std::string& tensor);  // [D, E] or [E, D], D = E
  void set(const Matrix& rows);
  void draw(uint64_t seed, float size = 2);
  void draw(const std::string& tensor, uint64_t seed, float size = 1);
  const Plan& run(int32_t phase = SWY_TRAIN);  // forward
  void after_step();                           // update with no load but what the router has seen itself
  double loss(const std::string& name) const;
  bool has_loss(const std::string& name) const;
  double metric(const std::string& name) const;
  PlanGrad only_loss(const std::string& name) const;       // dplan: 1 for this loss, 0 for all else
  std::vector<std::vector<int>> experts() const;           // of each row, in list order
  Matrix weights() const;                                  // likewise
  std::vector<int> loads() const;                          // [E]
  std::vector<int> loads(int32_t from, int32_t to) const;  // of the tokens in [from, to)
  Row row(int32_t token) const;
  Row row_of(const std::string& tensor, int64_t row, int64_t columns) const;
  int32_t tokens() const { return setting().shape.tokens(); }
  const Plan& last() const { return plan_; }

 private:
  size_t loss_index(const std::string& name) const;
  const Promise& promise_;
  Plan plan_;
};

Row softmax(Row);
double dot(const Row&, const Row&);
void add(double factor, const Row& x, Row& y);
double sigmoid(double);
// The columns of the k largest numbers, ties to the lower.
std::vector<int> largest(const Row&, int k);
// x M + bias, M [D, n] in `matrix`.
Row linear(const Row& x, const Row& matrix, const Row& bias = {});
Matrix drawn_rows(size_t rows, size_t columns, uint64_t seed, float size = 2);
Row to_row(const std::vector<float>&);

}  // namespace swy::conform
