#include "core/conform/child.h"

#include <algorithm>
#include <cstdio>
#include <new>

#include "core/base/parallel.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace {

// Lines longer than 64 KiB lose their end on the way to the parent (subprocess.h), so both parts stay well below.
constexpr size_t kLongestMessage = 8192, kLongestFigures = 32768;

void end(Result& result, Status status, const std::string& message) {
  result.status = status;
  result.message = clean_text(message.substr(0, kLongestMessage));
}

}  // namespace

Json to_json(const Job& job) {
  return {{"plugin", job.plugin.string()}, {"router", job.router},   {"case", job.name},           {"seed", job.seed},
          {"rounds", job.rounds},          {"threads", job.threads}, {"files", job.files.string()}};
}

Job job_from_json(const Json& j) {
  return {
      j.at("plugin").get<std::string>(), j.at("router"), j.at("case"), j.at("seed"), j.at("rounds"), j.at("threads"),
      j.at("files").get<std::string>()};
}

Result run_case(const Case& c, const Job& job) {
  Result result{.router = job.router, .plugin = job.plugin, .name = c.name, .mode = c.mode, .rule = c.rule};
  result.figures = Json::object();
  const CaseContext context{job.seed, job.rounds, &result.figures};
  try {
    Subject subject{job.plugin, job.router, nullptr, job.files};
    if (c.loads) subject.router = find_router(job.plugin.string() + ":" + job.router).router;
    c.run(subject, context);
  } catch (const Broken& e) {
    result.rule = e.rule;
    end(result, Status::kFail, e.what());
  } catch (const Skipped& e) {
    end(result, Status::kSkip, e.what());
  } catch (const Warned& e) {
    end(result, Status::kWarn, e.what());
  } catch (const Error& e) {
    if (const std::string rule = rule_in(e.what()); !rule.empty()) result.rule = rule;
    end(result, Status::kFail, e.what());
  } catch (const std::bad_alloc&) {
    end(result, Status::kCrash, "out of memory under the limit of this case (--memory)");
  } catch (const std::exception& e) {
    result.rule = "R05";
    end(result, Status::kFail, cat("an exception left a call: ", e.what()));
  } catch (...) {
    result.rule = "R05";
    end(result, Status::kFail, "an exception of an unknown type left a call");
  }
  return result;
}

void run_child(const std::string& text, const std::vector<Case>& cases) {
  const Job job = job_from_json(Json::parse(text));
  const auto it = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == job.name; });
  if (it == cases.end()) usage_error("no case '", job.name, "'");
  set_thread_count(job.threads);
  Result result = run_case(*it, job);
  if (result.figures.dump(-1, ' ', false, Json::error_handler_t::replace).size() > kLongestFigures)
    result.figures = {{"left_out", "more than a line holds"}};
  const Json line = {{"conform",
                      {{"status", static_cast<int>(result.status)},
                       {"rule", result.rule},
                       {"message", result.message},
                       {"figures", result.figures}}}};
  // The newline in front ends whatever the plugin has printed without one.
  std::printf("\n%s\n", line.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

bool read_result_line(const std::string& line, Result& result) {
  if (line.rfind("{\"conform\":", 0) != 0) return false;
  const Json j = Json::parse(line, nullptr, false);
  if (!j.is_object()) return false;
  const Json& r = j.at("conform");
  for (const char* key : {"status", "rule", "message", "figures"})  // a plugin may print such a line too
    if (!r.is_object() || !r.contains(key)) return false;
  if (!r["status"].is_number_integer() || !r["rule"].is_string() || !r["message"].is_string()) return false;
  const int status = r["status"];
  if (status < 0 || status > static_cast<int>(Status::kWarn)) return false;
  result.status = static_cast<Status>(status);
  result.rule = r["rule"];
  result.message = r["message"];
  result.figures = r["figures"];
  return true;
}

bool sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
  return true;
#else
  return false;
#endif
#else
  return false;
#endif
}

}  // namespace swy::conform
