# find_package(Switchyard) gives
#   Switchyard::sdk          headers of the ABI (core/abi) and of the author layer (core/sdk), C++20
#   switchyard_add_router()  see SwitchyardRouter.cmake
#   Switchyard_EXECUTABLE    the command `switchyard`
# All paths are relative to this file, so that the installed folder may be moved.
get_filename_component(_switchyard_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(Switchyard_EXECUTABLE "${_switchyard_prefix}/bin/switchyard")
if(NOT TARGET Switchyard::sdk)
  add_library(Switchyard::sdk INTERFACE IMPORTED)
  target_include_directories(Switchyard::sdk INTERFACE "${_switchyard_prefix}/include/switchyard")
  target_compile_features(Switchyard::sdk INTERFACE cxx_std_20)
  set_target_properties(Switchyard::sdk PROPERTIES SWITCHYARD_PLUGIN_MAP "${CMAKE_CURRENT_LIST_DIR}/plugin.map")
endif()
include("${CMAKE_CURRENT_LIST_DIR}/SwitchyardRouter.cmake")
unset(_switchyard_prefix)
