// `switchyard data list|fetch|verify|preview`: real data sets, and what corruptions and noises do to them.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>

#include "benchmarks/commands.h"
#include "benchmarks/preview_text.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "data/corrupt/sheet.h"
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

struct Preview {
  std::vector<std::string> corruptions = {"all"};
  std::vector<int> severities = {1, 2, 3, 4, 5};
  std::vector<int64_t> images = {0};
  std::string out;
  std::string noise;  // of text
  std::optional<double> rate;
};

void preview_set(const std::string& id, const std::string& directory, const Preview& preview) {
  if (!preview.noise.empty()) return preview_text(std::cout, id, directory, preview.noise, preview.rate);
  if (preview.out.empty()) usage_error("data preview: give --out FILE.png for images, or --noise NAME for text");
  data::SheetOptions sheet{{}, preview.severities, preview.images};
  for (const std::string& name : preview.corruptions) {
    if (name == "none") continue;
    for (const data::Corruption& c : data::corruptions())
      if (name == "all") sheet.rows.push_back(&c);
    if (name != "all") sheet.rows.push_back(&data::find_corruption(name));
  }
  data::DatasetOptions options;
  options.train_limit = 1;  // only the test split is shown
  const data::ImageDataset set = data::load_images(id, directory, options);
  data::write_sheet(set, sheet, preview.out);
  std::cout << "wrote " << preview.out << "\n";
  for (const data::Corruption* c : sheet.rows) std::printf("  %-18s %s\n", c->name.c_str(), c->doc.c_str());
}

}  // namespace

void add_data_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("data", "list, fetch, verify and preview data sets");
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
  CLI::App* preview =
      command->add_subcommand("preview", "test data, clean and disturbed: a PNG of images, or places of a text");
  auto p = std::make_shared<Preview>();
  for (CLI::App* c : {list, fetch, verify, preview})
    c->add_option("--data", o->directory, "directory of the data sets; default $SWITCHYARD_DATA or ./datasets");
  for (CLI::App* c : {fetch, verify}) c->add_option("set", o->id, "id of the set (switchyard data list)")->required();
  preview->add_option("set", o->id, "id of a set, image_folder:PATH or text_file:PATH")->required();
  preview->add_option("--corruption", p->corruptions, "names, all, or none: the clean images alone; default all");
  preview->add_option("--severity", p->severities, "1 to 5; default all five");
  preview->add_option("--index", p->images, "images of the test split, counted from 0; default 0");
  preview->add_option("--out", p->out, "the PNG to write, for images");
  preview->add_option("--noise", p->noise, "of text: a name, or all");
  preview->add_option("--rate", p->rate, "of the noise, in [0, 1]; default its highest")->needs("--noise");
  for (CLI::App* c : {list, verify}) c->add_flag("--json", o->json, "as JSON");
  fetch->add_option("--from", o->source, "a local directory or another URL instead of the official one");
  command->footer(
      "Examples:\n  switchyard data list\n  switchyard data fetch cifar10 --data DIR\n  switchyard data fetch mnist "
      "--from /media/stick/mnist\n  switchyard data verify cifar10 --data DIR\n  switchyard data preview "
      "planted_patches "
      "--corruption fog snow --index 0 1 --out sheet.png\n  switchyard data preview tinyshakespeare --noise ocr --data "
      "DIR");
  list->callback([o] { list_sets(o->directory, o->json); });
  fetch->callback([o] { fetch_set(o->id, o->directory, o->source); });
  preview->callback([o, p] { preview_set(o->id, o->directory, *p); });
  verify->callback([o, &exit_code] { exit_code = verify_set(o->id, o->directory, o->json); });
}

}  // namespace swy::bench
