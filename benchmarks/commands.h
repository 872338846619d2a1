// The commands of `switchyard`, one file each (<name>_command.cc). Each adds itself to the command line and runs when
// it was chosen, setting the exit code when that is not 0. They throw Error for wrong use and a broken environment.
#pragma once
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace swy::bench {

void add_run_command(CLI::App&, int& exit_code);
void add_cell_command(CLI::App&);  // hidden: the child of `run`
void add_bench_command(CLI::App&);
void add_list_command(CLI::App&);
void add_describe_command(CLI::App&);
void add_report_command(CLI::App&);
void add_data_command(CLI::App&, int& exit_code);
void add_new_command(CLI::App&);
void add_conform_command(CLI::App&, int& exit_code);
void add_conform_case_command(CLI::App&);  // hidden: the child of `conform`

// Writes the files of a new router `id` into `directory` and says what to do next: a project of its own, or a folder of
// a source tree's plugins/. Throws Error (usage) when the id is no good or taken, or the directory is not empty.
std::string make_router(const std::string& id, const std::filesystem::path& directory);

// Where data sets are looked for unless --data says otherwise: $SWITCHYARD_DATA, or "datasets".
std::string default_data_dir();

}  // namespace swy::bench
