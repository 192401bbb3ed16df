# For cross-compiling. The header-only dependencies are the same on every CPU. /usr/include as a whole must not be searched
# (it holds the host's C library), so they get a directory of links of their own.
set(inlay_host_headers "${CMAKE_BINARY_DIR}/host_headers")
file(MAKE_DIRECTORY "${inlay_host_headers}")
foreach(header IN ITEMS boost hwy nlohmann CLI eigen3/Eigen)
  cmake_path(GET header FILENAME name)
  if(EXISTS "/usr/include/${header}")
    file(CREATE_LINK "/usr/include/${header}" "${inlay_host_headers}/${name}" SYMBOLIC)
  endif()
endforeach()
set(INLAY_HIGHWAY_INCLUDE_DIR "${inlay_host_headers}")
set(INLAY_TEST_INCLUDE_DIR "${inlay_host_headers}")
