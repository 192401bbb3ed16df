# WebAssembly with 128-bit SIMD and threads, by Debian's emscripten; programs run under node.
set(EMSCRIPTEN_ROOT_PATH "/usr/share/emscripten" CACHE PATH "Where emscripten is installed")
include("${EMSCRIPTEN_ROOT_PATH}/cmake/Modules/Platform/Emscripten.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/host_headers.cmake")
# Programs read the host's files. Compiled at once instead of fetched: node's fetch does not take files.
string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -sNODERAWFS=1 -sWASM_ASYNC_COMPILATION=0 -sEXIT_RUNTIME=1 -sPTHREAD_POOL_SIZE=8"
                                          " -sINITIAL_MEMORY=268435456 -sTOTAL_STACK=1048576")
