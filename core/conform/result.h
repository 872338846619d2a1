// How one case ended for one router, and the text it makes.
#pragma once
#include <filesystem>
#include <string>

#include "core/base/json.h"
#include "core/conform/case.h"

namespace swy::conform {

struct Result {
  std::string router;
  std::filesystem::path plugin;
  std::string name, mode, rule;  // of the case; the rule is the broken one when a case found another than its own
  Status status = Status::kPass;
  std::string message = {};  // why it did not pass; empty when it did
  Json figures = {};         // what the case noted
  double seconds = 0;
  std::string repro = {};  // the command that runs this case alone
};

// "R07" out of "... (rule R07)", or empty. Messages of the host name the rule that way; the last one is the verdict,
// those before it stand in a message that it quotes.
std::string rule_in(const std::string& message);
// The text without bytes that are not UTF-8: plugins write what they like, reports are read by parsers.
std::string clean_text(const std::string&);

}  // namespace swy::conform
