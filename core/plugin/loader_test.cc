#include "core/plugin/loader.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/abi/ops.h"
#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/ops/table.h"

namespace swy {
namespace {
namespace fs = std::filesystem;

const fs::path kPlugins = SWITCHYARD_TEST_PLUGINS;

// The message of the Error that `call` throws, or "" (a test failure) when it throws none.
template <class Call>
std::string message_of(Kind kind, Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

std::string refusal(const fs::path& path) {
  return message_of(Kind::kEnvironment, [&] { load_plugin(path); });
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// A directory that lasts as long as the test, and the search path that leads to it.
class PluginPath {
 public:
  explicit PluginPath(const std::string& name) : directory(fs::path(testing::TempDir()) / ("switchyard_" + name)) {
    fs::remove_all(directory);
    fs::create_directories(directory);
    setenv("SWITCHYARD_PLUGIN_PATH", directory.c_str(), 1);
  }
  ~PluginPath() {
    unsetenv("SWITCHYARD_PLUGIN_PATH");
    fs::remove_all(directory);
  }
  const fs::path directory;
};

// A correct plugin loads, keeps the hash of its file, and a second load by another spelling is the same plugin.
TEST(Loader, LoadsAGoodPluginOnce) {
  const LoadedPlugin& loaded = load_plugin(kPlugins / "good.so");
  EXPECT_EQ(std::string(loaded.plugin->routers[0]->id), "round_robin");
  EXPECT_EQ(loaded.sha256, sha256_file(kPlugins / "good.so"));
  EXPECT_EQ(&load_plugin(kPlugins / ".." / kPlugins.filename() / "good.so"), &loaded);
}

// What is no plugin at all is told apart: missing, a directory, empty, text, a library without the symbol, one that
// the system's loader refuses.
TEST(Loader, NamesWhyAFileIsNoPlugin) {
  const PluginPath temporary("not_plugins");
  const fs::path empty = temporary.directory / "empty.so", text = temporary.directory / "text.so";
  std::ofstream{empty};
  std::ofstream(text) << "not a library";
  EXPECT_HAS(refusal(temporary.directory / "missing.so"),
             "no plugin file \"" + (temporary.directory / "missing.so").string());
  EXPECT_HAS(refusal(temporary.directory), "is not a file");
  EXPECT_HAS(refusal(empty), "is empty");
  EXPECT_HAS(refusal(text), "is not a shared library");
  EXPECT_HAS(refusal(kPlugins / "no_symbol.so"), "without the symbol swy_plugin_v1");
  EXPECT_HAS(refusal(kPlugins / "undefined_symbol.so"), "nobody_defines_this");
}

// A plugin built against another header is refused with the field that differs, and nothing else is reported.
TEST(Loader, NamesTheFieldThatDiffers) {
  EXPECT_HAS(
      refusal(kPlugins / "field_moved.so"),
      "another router.h:\n  swy_exec.seed: plugin has offset 64, size 8, type uint64_t; host has offset 56, size 8, "
      "type uint64_t\nfields may only be added at the end");
}

// A plugin whose header lacks the last field of a struct, or has one more, is welcome (rule R24).
TEST(Loader, TakesOlderAndNewerPlugins) {
  EXPECT_EQ(std::string(load_plugin(kPlugins / "field_missing.so").plugin->routers[0]->id), "round_robin");
  EXPECT_EQ(std::string(load_plugin(kPlugins / "field_extra.so").plugin->routers[0]->id), "round_robin");
}

// The major version is looked at before anything else is read, and nothing behind struct_size is.
TEST(Loader, RefusesOtherVersions) {
  EXPECT_HAS(refusal(kPlugins / "wrong_major.so"), "ABI major 2; this host speaks ABI major 1");
  EXPECT_HAS(refusal(kPlugins / "shrunk.so"), cat("holds no router: swy_plugin.struct_size is ",
                                                  offsetof(swy_plugin, routers), ", too small for the field"));
}

// A missing callback and a capability without its callback are refused by name.
TEST(Loader, NamesTheMissingCallback) {
  EXPECT_HAS(refusal(kPlugins / "no_forward.so"), "router 'round_robin': the required callback forward is missing");
  EXPECT_HAS(refusal(kPlugins / "claims_backward.so"), "claim SWY_CAP_BACKWARD but the callback backward is missing");
}

// Plugins on the search path are found by id; the broken ones among them are reported and do not get in the way.
TEST(Loader, FindsRoutersOnTheSearchPath) {
  const PluginPath path("search");
  fs::copy_file(kPlugins / "good.so", path.directory / "z_good.so");
  fs::copy_file(kPlugins / "no_forward.so", path.directory / "a_broken.so");
  std::ofstream(path.directory / "notes.txt") << "ignored: not named .so";
  const std::vector<fs::path> found = discover_plugins();
  ASSERT_GE(found.size(), 2u);
  EXPECT_EQ(found[0], path.directory / "a_broken.so");
  EXPECT_EQ(found[1], path.directory / "z_good.so");
  EXPECT_EQ(find_router("round_robin").plugin->path, fs::canonical(path.directory / "z_good.so"));
  std::vector<std::string> broken;
  EXPECT_EQ(std::string(all_routers(&broken)[0].router->id), "round_robin");
  ASSERT_FALSE(broken.empty());
  EXPECT_HAS(broken[0], "a_broken.so: router 'round_robin': the required callback forward is missing");
}

// A misspelt id is answered with the nearest one, and with the plugins that could not be loaded.
TEST(Loader, ProposesTheNearestId) {
  const PluginPath path("nearest");
  fs::copy_file(kPlugins / "good.so", path.directory / "good.so");
  fs::copy_file(kPlugins / "shrunk.so", path.directory / "shrunk.so");
  const std::string text = message_of(Kind::kUsage, [] { find_router("round_robbin"); });
  EXPECT_HAS(text, "no router 'round_robbin'; did you mean 'round_robin'?");
  EXPECT_HAS(text, "\nnot loaded: " + (path.directory / "shrunk.so").string());
}

// A path names a plugin file anywhere, with or without the id of one of its routers.
TEST(Loader, FindsRoutersByPath) {
  const std::string good = (kPlugins / "good.so").string();
  const swy_router* router = load_plugin(good).plugin->routers[0];
  EXPECT_EQ(find_router(good).router, router);
  EXPECT_EQ(find_router(good + ":round_robin").router, router);
  EXPECT_HAS(message_of(Kind::kUsage, [&] { find_router(good + ":robin"); }), "no router 'robin' in");
  EXPECT_HAS(message_of(Kind::kEnvironment, [] { find_router("/nowhere/at_all.so"); }), "no plugin file");
}

// The host offers its op table by id, nothing under any other id, and a log that takes any severity.
TEST(Loader, HostOffersTheOpTable) {
  const swy_host& host = plugin_host();
  EXPECT_EQ(host.struct_size, sizeof(swy_host));
  EXPECT_EQ(host.extension(&host, SWY_OPS_ID), &ops::table());
  EXPECT_EQ(host.extension(&host, "swy.ops/999"), nullptr);
  EXPECT_EQ(host.extension(&host, nullptr), nullptr);
  testing::internal::CaptureStderr();
  host.log(&host, SWY_LOG_WARNING, "too warm");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "plugin warning: too warm\n");
}

}  // namespace
}  // namespace swy
