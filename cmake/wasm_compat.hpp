// Included before everything else by the preset `wasm`: what the standard library of emscripten 3.1.6 (Debian 12) lacks of
// C++20. Later ones need nothing of it.
#ifndef INLAY_CMAKE_WASM_COMPAT_HPP_
#define INLAY_CMAKE_WASM_COMPAT_HPP_

#if __cplusplus >= 202002L  // CMake's own checks compile older C++
#include <bit>
#include <version>
#endif

#if __cplusplus >= 202002L && !defined(__cpp_lib_bit_cast)
namespace std {
template <class To, class From>
constexpr To bit_cast(const From& from) noexcept {
  return __builtin_bit_cast(To, from);
}
}  // namespace std
#endif

#endif  // INLAY_CMAKE_WASM_COMPAT_HPP_
