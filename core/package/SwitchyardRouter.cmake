# How a router plugin is built, inside this tree and outside: one function, so that both are the same.
#
#   switchyard_add_router(my_router router.cc)
#
# makes the target router_my_router and the file my_router.so in the current binary directory. The id must be the one
# that the source gives to SWY_ROUTER. Sources are C++20 or C11; the file exports swy_plugin_v1 and nothing else.
#
#   switchyard_add_router(my_router router.cc router.cu)
#
# in a project whose languages include CUDA also compiles kernels of the router's own and defines SWY_ROUTER_CUDA, by
# which router.cc knows that they are there.
function(switchyard_add_router id)
  add_library(router_${id} MODULE ${ARGN})
  target_link_libraries(router_${id} PRIVATE Switchyard::sdk)
  get_target_property(map Switchyard::sdk SWITCHYARD_PLUGIN_MAP)
  set_target_properties(router_${id} PROPERTIES PREFIX "" OUTPUT_NAME ${id} SUFFIX .so LINK_DEPENDS ${map}
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_VISIBILITY_PRESET hidden
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_options(router_${id} PRIVATE LINKER:--version-script=${map})
  if("${ARGN}" MATCHES "\\.cu(;|$)")
    target_compile_definitions(router_${id} PRIVATE SWY_ROUTER_CUDA)
    set_target_properties(router_${id} PROPERTIES CUDA_VISIBILITY_PRESET hidden CUDA_STANDARD 20
      CUDA_STANDARD_REQUIRED ON)
  endif()
endfunction()
