#include "core/conform/report.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "core/conform/rules.h"

namespace swy::conform {
namespace {

constexpr Status kOrder[] = {Status::kPass,    Status::kFail, Status::kCrash,
                             Status::kTimeout, Status::kWarn, Status::kSkip};
constexpr const char* kAcausal = "acausal in ";  // figures of that name say why; see reach_cases.cc
constexpr size_t kDetailedRouters = 3;           // so many routers get a line per mode; with more that is a flood

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", seconds);
  return text;
}

std::string counts_text(const Totals& t) {
  std::string text;
  for (const Status s : kOrder)
    if (t.count.count(s)) text += cat(text.empty() ? "" : ", ", t.count.at(s), " ", status_name(s));
  return text.empty() ? "nothing ran" : text;
}

// Groups in the order in which they first appear.
template <class Key>
std::vector<std::pair<std::string, std::vector<Result>>> grouped(const std::vector<Result>& results, const Key& key) {
  std::vector<std::pair<std::string, std::vector<Result>>> groups;
  std::map<std::string, size_t> place;
  for (const Result& r : results) {
    const auto [it, fresh] = place.emplace(key(r), groups.size());
    if (fresh) groups.push_back({it->first, {}});
    groups[it->second].second.push_back(r);
  }
  return groups;
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

// Later lines stand below the first.
std::string indented(const std::string& text, const std::string& margin) {
  std::string out = margin;
  for (const char c : text) out += c == '\n' ? "\n" + margin : std::string(1, c);
  return out + "\n";
}

// The sentence of a case; empty for one that is not of this program.
std::string doc_of(const std::string& name) {
  for (const Case& c : all_cases())
    if (c.name == name) return c.doc;
  return {};
}

class Writer {
 public:
  Writer(const std::vector<Result>& results, bool colour) : results_(results), colour_(colour) {}

  std::string table() const {
    const auto routers = by_router(results_);
    size_t width = 6;
    for (const auto& [id, own] : routers) width = std::max(width, id.size());
    std::string text;
    for (const auto& [id, own] : routers) {
      if (routers.size() > kDetailedRouters) {
        text += line(padded(id, width), own);
        continue;
      }
      for (const auto& [mode, cases] : grouped(own, [](const Result& r) { return r.mode; }))
        text += line(padded(id, width) + "  " + padded(mode, 8), cases);
    }
    return text;
  }

  std::string details() const {
    std::string text;
    for (const Result& r : results_)
      if (r.status != Status::kPass && r.status != Status::kSkip) text += "\n" + detail(r);
    return text;
  }

  // "later tokens reach earlier ones in": who states why (case causal.later_tokens), by its presets first; what only
  // some option brings follows with that option.
  std::string acausal() const {
    std::string text;
    for (const Result& r : results_) {
      std::set<std::string> told;  // phase and reason that the presets have already
      if (!r.figures.is_object()) continue;
      for (const bool presets : {true, false})
        for (const auto& [key, reason] : r.figures.items()) {
          if (key.rfind(kAcausal, 0) != 0) continue;
          const std::string where = key.substr(std::string(kAcausal).size()), phase = where.substr(0, where.find(' '));
          if ((where == phase) != presets) continue;
          const std::string what = cat(phase, ": ", reason.get<std::string>());
          if (presets ? told.insert(what).second : !told.count(what))
            text += cat("  ", r.router, "  ", where, ": ", reason.get<std::string>(), "\n");
        }
    }
    return text.empty() ? "" : "\nlater tokens reach earlier ones in\n" + text;
  }

  // "skip  causal.suffix (31 routers): it does not claim SWY_CAP_CAUSAL"
  std::string skipped() const {
    std::vector<Result> skips;
    for (const Result& r : results_)
      if (r.status == Status::kSkip) skips.push_back(r);
    std::string text;
    for (const auto& [reason, same] : grouped(skips, [](const Result& r) { return r.message; })) {
      const auto routers = by_router(same);
      const auto cases = grouped(same, [](const Result& r) { return r.name; });
      const std::string more = cases.size() > 1 ? cat(" and ", cases.size() - 1, " more") : "";
      text += cat("skip  ", cases[0].first, more, " (",
                  routers.size() == 1 ? routers[0].first : cat(routers.size(), " routers"), "): ", reason, "\n");
    }
    return text.empty() ? "" : "\n" + text;
  }

 private:
  std::string marked(Status s, const std::string& word) const {
    if (!colour_) return word;
    return cat("\033[", is_bad(s) ? "1;31" : s == Status::kPass ? "32" : "33", "m", word, "\033[0m");
  }
  std::string line(const std::string& label, const std::vector<Result>& own) const {
    const Totals t = totals(own);
    double seconds = 0;
    for (const Result& r : own) seconds += r.seconds;
    return cat("  ", label, "  ", marked(t.bad ? Status::kFail : Status::kPass, t.bad ? "FAIL" : "ok  "), "  ",
               counts_text(t), "  (", seconds_text(seconds), ")\n");
  }
  std::string detail(const Result& r) const {
    std::string text = cat(marked(r.status, status_name(r.status)), "  ", r.router, "  ", r.name, "\n");
    if (const auto it = rules().find(r.rule); it != rules().end())
      text += indented(cat(r.rule, " ", it->second.title, " ", it->second.text), "  ");
    else if (r.mode == "oracle")
      text += indented(cat("oracle: ", doc_of(r.name)), "  ");
    return text + indented(r.message, "  ") + "  again: " + r.repro + "\n";
  }

  const std::vector<Result>& results_;
  const bool colour_;
};

}  // namespace

Totals totals(const std::vector<Result>& results) {
  Totals t;
  for (const Result& r : results) {
    ++t.count[r.status];
    ++t.all;
    t.bad += is_bad(r.status);
  }
  return t;
}

std::vector<std::pair<std::string, std::vector<Result>>> by_router(const std::vector<Result>& results) {
  std::map<std::string, std::set<std::filesystem::path>> files;
  for (const Result& r : results) files[r.router].insert(r.plugin);
  return grouped(results, [&](const Result& r) {
    return files[r.router].size() == 1 ? r.router : cat(r.router, " (", r.plugin.filename().string(), ")");
  });
}

std::string summary_line(const std::vector<Result>& results, double seconds) {
  const Totals t = totals(results);
  return cat(t.all, t.all == 1 ? " case: " : " cases: ", counts_text(t), " in ", seconds_text(seconds));
}

std::string to_text(const std::vector<Result>& results, double seconds, bool colour) {
  const Writer w(results, colour);
  return w.table() + w.details() + w.acausal() + w.skipped() + "\n" + summary_line(results, seconds) + "\n";
}

Json to_json(const std::vector<Result>& results, double seconds) {
  Json list = Json::array(), counts = Json::object();
  for (const Status s : kOrder) counts[status_name(s)] = 0;
  for (const Result& r : results) {
    counts[status_name(r.status)] = counts[status_name(r.status)].get<int>() + 1;
    list.push_back({{"router", r.router},
                    {"plugin", r.plugin.string()},
                    {"case", r.name},
                    {"mode", r.mode},
                    {"rule", r.rule},
                    {"status", status_name(r.status)},
                    {"message", r.message},
                    {"figures", r.figures.is_null() ? Json::object() : r.figures},
                    {"seconds", r.seconds},
                    {"repro", r.repro}});
  }
  return {{"format", 1}, {"seconds", seconds}, {"totals", counts}, {"results", list}};
}

}  // namespace swy::conform
