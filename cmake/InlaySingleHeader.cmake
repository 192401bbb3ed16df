# For builds on the generated single header: a directory in which every "inlay/..." header is a line that includes it, so
# that tests and programs need not know which of the two they are built on.

function(inlay_single_header_shims directory)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/include/*.hpp")
  foreach(header IN LISTS headers)
    file(CONFIGURE OUTPUT "${directory}/${header}" CONTENT "#include \"${PROJECT_SOURCE_DIR}/single_include/inlay.hpp\"\n" @ONLY)
  endforeach()
endfunction()
