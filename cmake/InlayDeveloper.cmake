# Flags of this project's own programs and tests. Users of the library never see them: they compile as they like.

add_library(inlay_developer INTERFACE)
target_link_libraries(inlay_developer INTERFACE inlay::inlay)
target_compile_options(inlay_developer INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarm in std::string's operator+ (GCC bug 105651).
  target_compile_options(inlay_developer INTERFACE -Wno-restrict)
endif()

# Highway 1.0.3 needs AES and PCLMUL beside AVX2 before it picks its AVX2 target, so the levels are spelled out.
set(INLAY_CPU_FLAGS "" CACHE STRING "Compiler flags that select the CPU level of tests and programs (a CMake list)")
option(INLAY_NATIVE "Compile tests and programs for this machine's CPU (-march=native)" OFF)
if(INLAY_NATIVE)
  target_compile_options(inlay_developer INTERFACE -march=native)
endif()
target_compile_options(inlay_developer INTERFACE ${INLAY_CPU_FLAGS})

# For programs that choose their code when they run. Link it behind inlay_developer: the last -march counts, and a target's
# own options come before those of what it links.
add_library(inlay_any_x86_64 INTERFACE)
target_compile_options(inlay_any_x86_64 INTERFACE -march=x86-64)

set(INLAY_SANITIZERS "" CACHE STRING "Sanitizers for tests and programs, as -fsanitize= takes them")
if(INLAY_SANITIZERS)
  target_compile_options(inlay_developer INTERFACE -fsanitize=${INLAY_SANITIZERS} -fno-sanitize-recover=all
                                                   -fno-omit-frame-pointer)
  target_link_options(inlay_developer INTERFACE -fsanitize=${INLAY_SANITIZERS})
endif()

# What firmware and many games build with.
option(INLAY_EXCEPTIONS "Compile with exceptions and run-time type information" ON)
if(NOT INLAY_EXCEPTIONS)
  target_compile_options(inlay_developer INTERFACE -fno-exceptions -fno-rtti)
endif()
# For programs whose own dependencies throw. Linked behind inlay_developer too.
add_library(inlay_throws INTERFACE)
target_compile_options(inlay_throws INTERFACE -fexceptions -frtti)

find_package(Threads REQUIRED)
target_link_libraries(inlay_developer INTERFACE Threads::Threads)

# Every flag above as a list, for the checks that call the compiler themselves.
get_target_property(INLAY_DEVELOPER_FLAGS inlay_developer INTERFACE_COMPILE_OPTIONS)
