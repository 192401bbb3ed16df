# Defines the target inlay::highway: the include directory of Google Highway, and nothing to link.
#
# Used by the project itself and, installed beside inlayConfig.cmake, by everyone who finds the installed package. The
# library uses Highway's static dispatch, which is header-only: linking hwy::hwy would add a shared library for nothing.
# Set INLAY_HIGHWAY_INCLUDE_DIR to point at a copy that neither find_package nor the compiler's search path knows.

function(inlay_find_highway result)
  if(TARGET inlay::highway)
    set(${result} TRUE PARENT_SCOPE)
    return()
  endif()
  set(directories "${INLAY_HIGHWAY_INCLUDE_DIR}")
  if(NOT directories)
    if(NOT TARGET hwy::hwy)
      find_package(hwy 1.0.3 CONFIG QUIET)
    endif()
    if(TARGET hwy::hwy)
      get_target_property(directories hwy::hwy INTERFACE_INCLUDE_DIRECTORIES)
    endif()
  endif()
  if(NOT directories)
    # Packages without CMake files.
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
      pkg_check_modules(INLAY_PC_HIGHWAY QUIET libhwy>=1.0.3)
    endif()
    find_path(INLAY_HIGHWAY_INCLUDE_DIR hwy/highway.h HINTS ${INLAY_PC_HIGHWAY_INCLUDE_DIRS}
              DOC "Directory that contains hwy/highway.h")
    set(directories "${INLAY_HIGHWAY_INCLUDE_DIR}")
  endif()
  if(NOT directories)
    set(${result} FALSE PARENT_SCOPE)
    return()
  endif()
  add_library(inlay::highway INTERFACE IMPORTED GLOBAL)
  target_include_directories(inlay::highway INTERFACE ${directories})
  set(${result} TRUE PARENT_SCOPE)
endfunction()
