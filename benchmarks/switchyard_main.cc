// The command line. Exit codes: 0 fine, 1 a failure that was asked about (a cell that failed), 2 wrong use, 3
// environment.
#include <cstdio>
#include <exception>

#include "benchmarks/commands.h"
#include "core/base/error.h"
#include "core/base/suggest.h"

namespace {

// CLI11 says "The following argument was not expected: rnu"; people want to know what was meant.
std::string with_suggestion(const CLI::App& app, const std::string& message, int argc, char** argv) {
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    known.push_back(command->get_name());
  if (argc < 2 || argv[1][0] == '-' || std::find(known.begin(), known.end(), argv[1]) != known.end()) return message;
  return swy::cat("unknown command '", argv[1], "'", swy::suggestion(argv[1], known));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Switchyard: compare Mixture-of-Experts routers under equal compute.", "switchyard"};
  app.footer(
      "Examples:\n"
      "  switchyard list routers\n"
      "  switchyard describe soft_moe\n"
      "  switchyard run demo-vision\n"
      "  switchyard run vision-cifar10-mini --data DIR --routers soft_moe,random --seeds 3\n"
      "  switchyard new my_router\n"
      "  switchyard conform path/to/my_router.so\n"
      "\nExit codes: 0 fine, 1 a cell or case failed, 2 wrong use, 3 environment. Help on a command: switchyard "
      "COMMAND "
      "--help");
  app.require_subcommand(1);
  int exit_code = 0;
  try {
    swy::bench::add_run_command(app, exit_code);
    swy::bench::add_bench_command(app);
    swy::bench::add_list_command(app);
    swy::bench::add_describe_command(app);
    swy::bench::add_report_command(app);
    swy::bench::add_data_command(app, exit_code);
    swy::bench::add_conform_command(app, exit_code);
    swy::bench::add_new_command(app);
    swy::bench::add_cell_command(app);
    swy::bench::add_conform_case_command(app);
    if (argc < 2) {
      std::fputs(app.help().c_str(), stderr);
      return 2;
    }
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::fprintf(stderr, "switchyard: %s\nsee switchyard --help\n", with_suggestion(app, e.what(), argc, argv).c_str());
    return 2;
  } catch (const swy::Error& e) {
    std::fprintf(stderr, "switchyard: %s\n", e.what());
    return static_cast<int>(e.kind);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "switchyard: %s\n", e.what());
    return 3;
  }
}
