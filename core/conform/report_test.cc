// Reports: what people read, what programs parse, and the sentences of the rules in them.
#include "core/conform/report.h"

#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "core/conform/rules.h"

namespace swy::conform {
namespace {

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

Result result(const std::string& router, const std::string& name, Status status, const std::string& message) {
  Result r;
  r.router = router;
  r.plugin = "/plugins/" + router + ".so";
  r.name = name;
  r.mode = name.substr(0, name.find('.'));
  r.rule = "R19";
  r.status = status;
  r.message = message;
  r.seconds = 0.25;
  r.repro = "switchyard conform " + router + " --case " + name + " --seed 1";
  return r;
}

std::vector<Result> one_of_each() {
  return {result("a", "grad.x", Status::kPass, ""),
          result("a", "grad.y", Status::kFail, "dL/dx[0] is <1> & \"2\"\nsecond line \x01"),
          result("a", "state.x", Status::kCrash, "killed by SIGSEGV"),
          result("b", "grad.x", Status::kTimeout, "still running"),
          result("b", "grad.y", Status::kSkip, "no backward"),
          result("b", "state.x", Status::kWarn, "slow")};
}

// The names of the elements of an XML text, each once per occurrence; fails when a tag is not closed by its own name,
// an attribute is not quoted, or a bare & or a control character occurs. Enough XML for what is written here.
std::multiset<std::string> elements(const std::string& xml) {
  std::multiset<std::string> names;
  std::vector<std::string> open;
  size_t i = xml.find("?>") + 2;
  while (i < xml.size()) {
    const char c = xml[i];
    EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << "control character at " << i;
    if (c == '&') {
      const size_t end = xml.find(';', i);
      EXPECT_LE(end - i, 6u) << "bare & at " << i;
    }
    if (c != '<') {
      ++i;
      continue;
    }
    const bool closing = xml[i + 1] == '/';
    size_t j = i + 1 + closing;
    std::string name;
    while (std::isalpha(static_cast<unsigned char>(xml[j])) || xml[j] == '-') name += xml[j++];
    while (xml[j] != '>' && xml[j] != '/') {
      if (xml[j++] != '"') continue;
      const size_t end = xml.find('"', j);
      EXPECT_EQ(xml.substr(j, end - j).find('<'), std::string::npos);
      j = end + 1;
    }
    if (closing) {
      EXPECT_TRUE(!open.empty() && open.back() == name) << name;
      if (open.empty()) return names;
      open.pop_back();
    } else {
      names.insert(name);
      if (xml[j] != '/') open.push_back(name);
    }
    i = xml.find('>', j) + 1;
  }
  EXPECT_TRUE(open.empty());
  return names;
}

// Proves that every rule of RULES.md is found with a title and what it demands, and without its reasons.
TEST(Rules, AllAreRead) {
  EXPECT_EQ(rules().size(), 24u);
  for (int i = 1; i <= 24; ++i) {
    const std::string id = cat(i < 10 ? "R0" : "R", i);
    ASSERT_TRUE(rules().count(id)) << id;
    EXPECT_FALSE(rules().at(id).title.empty() || rules().at(id).text.empty()) << id;
    EXPECT_EQ(rules().at(id).text.find("Why:"), std::string::npos) << id;
  }
  EXPECT_EQ(rules().at("R07").title, "Steps only enqueue.");
  const auto parsed = parse_rules("**R5 — A\ntitle.** Text\nover lines.\n*Why:* x\n\n**Rx — no** **R7 nothing**");
  ASSERT_EQ(parsed.size(), 1u);
  EXPECT_EQ(parsed.at("R5").title, "A title.");
  EXPECT_EQ(parsed.at("R5").text, "Text over lines.");
}

// Proves that every case has a name of its own that begins with its mode, a rule that exists and a sentence.
TEST(Cases, AreWellDescribed) {
  std::set<std::string> names;
  for (const Case& c : all_cases()) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name;
    EXPECT_EQ(c.name.rfind(c.mode + ".", 0), 0u) << c.name;
    EXPECT_TRUE(rules().count(c.rule) || (c.mode == "oracle" && c.rule == "oracle")) << c.name << " " << c.rule;
    EXPECT_TRUE(!c.doc.empty() && c.doc.back() == '.') << c.name;
    EXPECT_TRUE(c.run) << c.name;
  }
}

// Proves that reasons for looking ahead are listed, and what an option repeats of the presets is not.
TEST(Report, ListsWhoLooksAheadAndWhy) {
  Result r;
  r.router = "base", r.name = "causal.later_tokens", r.mode = "causal", r.rule = "R14", r.status = Status::kPass;
  r.figures = {{"acausal in training", "the auction"},
               {"acausal in training with k=2", "the auction"},
               {"acausal in evaluation with pool=sequence", "the pool"},
               {"other", 3}};
  const std::string text = to_text({r}, 1, false);
  EXPECT_NE(text.find("\n  base  training: the auction\n  base  evaluation with pool=sequence: the pool\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("k=2"), std::string::npos);
  r.figures = nullptr;
  EXPECT_EQ(to_text({r}, 1, false).find("later tokens"), std::string::npos);
}

// Proves that the text gives counts by router and mode, and for what did not pass the rule, its sentence, the reason
// and how to have it again.
TEST(Report, TextSaysWhatAndWhy) {
  const std::string text = to_text(one_of_each(), 2, false);
  EXPECT_HAS(text, "  a       grad      FAIL  1 pass, 1 fail  (0.5 s)\n");
  EXPECT_HAS(text, "  a       state     FAIL  1 crash  (0.2 s)\n");
  EXPECT_HAS(text, "\nfail  a  grad.y\n  R19 The gradient is right. ");
  EXPECT_HAS(text, "\n  second line");
  EXPECT_HAS(text, "\n  again: switchyard conform a --case grad.y --seed 1\n");
  EXPECT_HAS(text, "\nskip  grad.y (b): no backward\n");
  EXPECT_HAS(text, "6 cases: 1 pass, 1 fail, 1 crash, 1 timeout, 1 warn, 1 skip in 2.0 s\n");
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_HAS(to_text(one_of_each(), 2, true), "\033[1;31mFAIL");
}

// Proves that with many routers there is one line for each, and that what all skip for one reason is said once.
TEST(Report, ManyRoutersStayReadable) {
  std::vector<Result> results;
  for (const char* router : {"a", "b", "c", "d"}) {
    results.push_back(result(router, "grad.x", Status::kPass, ""));
    results.push_back(result(router, "state.x", Status::kSkip, "no state"));
  }
  const std::string text = to_text(results, 1, false);
  EXPECT_HAS(text, "  d       ok    1 pass, 1 skip  (0.5 s)\n");
  EXPECT_HAS(text, "skip  state.x (4 routers): no state\n");
  EXPECT_EQ(text.find("grad  "), std::string::npos);
}

// Proves that two routers of one id from two files are told apart.
TEST(Report, OneIdFromTwoFiles) {
  std::vector<Result> results = {result("a", "grad.x", Status::kPass, ""), result("a", "grad.x", Status::kPass, "")};
  results[1].plugin = "/elsewhere/other.so";
  const auto routers = by_router(results);
  ASSERT_EQ(routers.size(), 2u);
  EXPECT_EQ(routers[0].first, "a (a.so)");
  EXPECT_EQ(routers[1].first, "a (other.so)");
}

// Proves that the JSON holds every result and its totals.
TEST(Report, Json) {
  const Json j = to_json(one_of_each(), 2);
  EXPECT_EQ(j.at("results").size(), 6u);
  EXPECT_EQ(j.at("totals").at("crash"), 1);
  EXPECT_EQ(j.at("results")[1].at("status"), "fail");
  EXPECT_EQ(j.at("results")[1].at("rule"), "R19");
  EXPECT_EQ(Json::parse(j.dump()), j);
}

// Proves that the XML is well formed whatever a message holds, and that each status has its element.
TEST(Report, JunitIsWellFormed) {
  const std::string xml = to_junit(one_of_each(), 2);
  const std::multiset<std::string> names = elements(xml);
  EXPECT_EQ(names.count("testsuites"), 1u);
  EXPECT_EQ(names.count("testsuite"), 2u);
  EXPECT_EQ(names.count("testcase"), 6u);
  EXPECT_EQ(names.count("failure"), 1u);
  EXPECT_EQ(names.count("error"), 2u);
  EXPECT_EQ(names.count("skipped"), 1u);
  EXPECT_EQ(names.count("system-out"), 1u);
  EXPECT_HAS(xml, "<testsuites name=\"switchyard conform\" tests=\"6\" failures=\"1\" errors=\"2\" skipped=\"1\"");
  EXPECT_HAS(xml, "message=\"dL/dx[0] is &lt;1&gt; &amp; &quot;2&quot;\"");
}

}  // namespace
}  // namespace swy::conform
