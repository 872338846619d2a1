# Installs the build, makes a router with the installed command, builds it against the installed package, runs its tests
# and trains it for a moment. The installation is moved first: nothing in it may remember where it was.
set(work ${BUILD}/core/package/stand_alone)
file(REMOVE_RECURSE ${work})

# The words of one command; its output is left in `text`.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " words)
    message(FATAL_ERROR "exit code ${code}: ${words}\n${out}${err}")
  endif()
  set(text "${out}${err}" PARENT_SCOPE)
endfunction()

function(expect text part)
  string(FIND "${text}" "${part}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "\"${part}\" is missing in:\n${text}")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/first)
file(RENAME ${work}/first ${work}/prefix)
set(switchyard ${work}/prefix/bin/switchyard)

# What is installed is whole: it finds routers, suites, schemas and manifests in its own folder.
unset(ENV{SWITCHYARD_HOME})
unset(ENV{SWITCHYARD_PLUGIN_PATH})
run(${switchyard} list --json)
expect("${text}" "\"plugin\": \"${work}/prefix/lib/switchyard/plugins/soft_moe.so\"")
foreach(file benchmarks/suites/smoke.json benchmarks/suites/suite.schema.json data/manifests/cifar10.json
        reports/schema plugins/soft_moe/README.md core/package/template/router.cc.in)
  if(NOT EXISTS ${work}/prefix/share/switchyard/${file})
    message(FATAL_ERROR "${file} is not installed under share/switchyard")
  endif()
endforeach()
# Shared libraries are the system's, found the system's way.
run(${READELF} -d ${switchyard})
if(text MATCHES "RPATH|RUNPATH")
  message(FATAL_ERROR "the installed command has a library path of its own:\n${text}")
endif()

run(${switchyard} new my_router --dir ${work}/project)
expect("${text}" "-DCMAKE_PREFIX_PATH=${work}/prefix")
run(${CMAKE_COMMAND} -S ${work}/project -B ${work}/project/build -G ${GENERATOR} -DCMAKE_PREFIX_PATH=${work}/prefix
  -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_C_COMPILER=${C_COMPILER} -DCMAKE_CXX_FLAGS=${FLAGS}
  "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -Wall -Wextra -Werror")
run(${CMAKE_COMMAND} --build ${work}/project/build)
# The project's own test: every rule, by the installed command.
run(${CMAKE_CTEST_COMMAND} --test-dir ${work}/project/build --output-on-failure)
run(${switchyard} describe ${work}/project/build/my_router.so)
expect("${text}" "my_router 0.1.0: My router")
run(${switchyard} run smoke --routers ${work}/project/build/my_router.so --seeds 1 --out ${work}/out)
expect("${text}" "my_router")
