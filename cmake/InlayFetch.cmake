# Downloads of what the system does not have; only with INLAY_FETCH_DEPENDENCIES. Releases are pinned by their hash.

include(FetchContent)

function(inlay_fetch_highway)
  # Only the headers are used: the source directory is never added to the build.
  FetchContent_Declare(inlay_highway_source
    GIT_REPOSITORY https://github.com/google/highway.git
    GIT_TAG 1.0.7
    GIT_SHALLOW ON)
  FetchContent_GetProperties(inlay_highway_source)
  if(NOT inlay_highway_source_POPULATED)
    FetchContent_Populate(inlay_highway_source)
  endif()
  set(INLAY_HIGHWAY_INCLUDE_DIR "${inlay_highway_source_SOURCE_DIR}")
  inlay_find_highway(found)
endfunction()
