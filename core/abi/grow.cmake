# Writes what router.h and layout.h will look like after the next append: two more fields at the end of every growable
# struct. Host and plugins are built against the copies and against the originals, and mixed (core/plugin/mixed_pair*).
#   cmake -D SOURCE=<core/abi> -D OUTPUT=<folder for the copies> -P grow.cmake
file(READ ${SOURCE}/router.h header)
file(READ ${SOURCE}/layout.h layout)
string(FIND "${header}" "---- growable" growable)
string(SUBSTRING "${header}" ${growable} -1 tail)
string(REGEX MATCHALL "\n} swy_[a-z_]+" structs "${tail}")
list(LENGTH structs n)
if(growable EQUAL -1 OR n LESS 12)
  message(FATAL_ERROR "grow.cmake found ${n} growable structs in ${SOURCE}/router.h; has the header's form changed?")
endif()
foreach(end ${structs})
  string(REGEX MATCH "swy_[a-z_]+" struct "${end}")
  string(REPLACE "\n} ${struct};" "\n  uint64_t grown_a, grown_b;\n} ${struct};" header "${header}")
  # Listed behind the first field: the loader finds fields by name, so their order in the table is free.
  set(first "  F(${struct}, struct_size, uint32_t) \\\n")
  string(REPLACE "${first}"
    "${first}  F(${struct}, grown_a, uint64_t) \\\n  F(${struct}, grown_b, uint64_t) \\\n" layout "${layout}")
endforeach()
file(WRITE ${OUTPUT}/router.h "${header}")
file(WRITE ${OUTPUT}/layout.h "${layout}")
