// `switchyard data list|fetch|verify`: real data sets.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "benchmarks/commands.h"
#include "core/base/json.h"
#include "data/fetch.h"
#include "data/manifest.h"

namespace swy::bench {
namespace {

void list_sets(const std::string& directory, bool json) {
  Json rows = Json::array();
  for (const std::string& id : data::manifest_ids()) {
    const data::Manifest m = data::read_manifest(id);
    int64_t bytes = 0;
    for (const data::ManifestDownload& d : m.downloads) bytes += d.bytes;
    rows.push_back(
        {{"id", id}, {"title", m.title}, {"licence", m.licence}, {"homepage", m.homepage}, {"download_bytes", bytes}});
    if (json) continue;
    std::printf("%-16s %s\n%-16s %s\n", id.c_str(), m.title.c_str(), "", m.licence.c_str());
    if (bytes > 0) std::printf("%-16s %.1f MB, %s\n", "", static_cast<double>(bytes) / 1e6, m.homepage.c_str());
    if (bytes == 0 && !m.files.empty()) std::printf("%-16s not fetched from here; %s\n", "", m.homepage.c_str());
  }
  if (json) {
    std::cout << rows.dump(1) << "\n";
  } else {
    std::cout << "data directory: " << directory << "\n";
  }
}

void fetch_set(const std::string& id, const std::string& directory, const std::string& source) {
  const bool terminal = isatty(2);
  data::fetch(data::read_manifest(id), directory, source, [&](const std::string& name, int64_t done, int64_t total) {
    if (terminal)
      std::fprintf(stderr, "\r\033[K%s: %.1f of %.1f MB", name.c_str(), static_cast<double>(done) / 1e6,
                   static_cast<double>(total) / 1e6);
    return true;
  });
  if (terminal) std::fputs("\r\033[K", stderr);
  std::cout << id << ": whole, in " << directory << "\n";
}

int verify_set(const std::string& id, const std::string& directory, bool json) {
  Json rows = Json::array();
  bool fine = true;
  for (const data::FileCheck& check : data::verify(data::read_manifest(id), directory)) {
    fine = fine && check.state == data::FileState::kOk;
    rows.push_back({{"file", check.name},
                    {"path", check.path.string()},
                    {"state", data::name(check.state)},
                    {"detail", check.detail}});
    if (!json)
      std::printf("%-10s %s%s%s\n", data::name(check.state), check.name.c_str(), check.detail.empty() ? "" : ": ",
                  check.detail.c_str());
  }
  if (json) std::cout << rows.dump(1) << "\n";
  return fine ? 0 : 1;
}

}  // namespace

void add_data_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("data", "list, fetch and verify real data sets");
  struct Options {
    std::string id, directory = default_data_dir(), source;
    bool json = false;
  };
  auto o = std::make_shared<Options>();
  command->require_subcommand(1);
  CLI::App* list = command->add_subcommand("list", "known sets with licence and size");
  CLI::App* fetch =
      command->add_subcommand("fetch", "download a set (or copy it from --from), checked by size and SHA-256");
  CLI::App* verify = command->add_subcommand("verify", "check every file of a set by size and SHA-256");
  for (CLI::App* c : {list, fetch, verify})
    c->add_option("--data", o->directory, "directory of the data sets; default $SWITCHYARD_DATA or ./datasets");
  for (CLI::App* c : {fetch, verify}) c->add_option("set", o->id, "id of the set (switchyard data list)")->required();
  for (CLI::App* c : {list, verify}) c->add_flag("--json", o->json, "as JSON");
  fetch->add_option("--from", o->source, "a local directory or another URL instead of the official one");
  command->footer(
      "Examples:\n  switchyard data list\n  switchyard data fetch cifar10 --data DIR\n  switchyard data fetch mnist "
      "--from /media/stick/mnist\n  switchyard data verify cifar10 --data DIR");
  list->callback([o] { list_sets(o->directory, o->json); });
  fetch->callback([o] { fetch_set(o->id, o->directory, o->source); });
  verify->callback([o, &exit_code] { exit_code = verify_set(o->id, o->directory, o->json); });
}

}  // namespace swy::bench
