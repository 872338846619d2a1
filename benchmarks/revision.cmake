# Run at every build: writes OUTPUT with the git revision of the sources that are being compiled, marked when they differ
# from it, or with nothing outside a checkout. The file changes only when the text does, so nothing is rebuilt for it.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git rev-parse HEAD WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE revision
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(revision "")
else()
  execute_process(COMMAND git status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE}
                  OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    string(APPEND revision "-modified")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define SWITCHYARD_REVISION \"@revision@\"\n" @ONLY)
