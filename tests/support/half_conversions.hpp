// Checks conversions between half precision and float32 against the scalar ones of formats/float16.hpp: every half, and
// floats around every place where rounding could go wrong.
#ifndef INLAY_TESTS_SUPPORT_HALF_CONVERSIONS_HPP_
#define INLAY_TESTS_SUPPORT_HALF_CONVERSIONS_HPP_

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <boost/test/unit_test.hpp>

#include "inlay/formats/float16.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

// load(from, to, n) and store(from, to, n) convert n values, a multiple of 16.
template <class Load, class Store>
void CheckHalfConversions(Load&& load, Store&& store) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> floats(halves.size());
  load(halves.data(), floats.data(), halves.size());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const float expected = inlay::F16ToF32(halves[i]);
    const bool same = std::bit_cast<std::uint32_t>(floats[i]) == std::bit_cast<std::uint32_t>(expected);
    wrong += same || (std::isnan(floats[i]) && std::isnan(expected)) ? 0 : 1;
  }
  BOOST_TEST(wrong == 0u, wrong << " of 65536 halves become other floats");

  // Each half, the middle to the next one, and their neighbours; then random bits.
  floats.clear();
  for (std::uint32_t half = 0; half < 0x7C00; ++half) {
    const float value_of_half = inlay::F16ToF32(static_cast<std::uint16_t>(half));
    const float next = half == 0x7BFF ? 65536.0f : inlay::F16ToF32(static_cast<std::uint16_t>(half + 1));
    for (const float value : {value_of_half, 0.5f * (value_of_half + next)}) {
      for (const float near : {std::nextafter(value, -1.0f), value, std::nextafter(value, INFINITY)}) {
        floats.push_back(near);
        floats.push_back(-near);
      }
    }
  }
  for (const float value : {INFINITY, -INFINITY, std::nanf(""), 1e30f, -1e30f, 1e-40f, 65536.0f, 65535.0f}) {
    floats.push_back(value);
  }
  Random random(9);
  for (int i = 0; i < 100000 || floats.size() % 16 != 0; ++i) {
    floats.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random.Bits() >> 32)));
  }
  halves.assign(floats.size(), 0);
  store(floats.data(), halves.data(), floats.size());
  wrong = 0;
  for (std::size_t i = 0; i < floats.size(); ++i) {
    const bool is_nan = (halves[i] & 0x7FFF) > 0x7C00;
    wrong += (std::isnan(floats[i]) ? is_nan : halves[i] == inlay::F32ToF16(floats[i])) ? 0 : 1;
  }
  BOOST_TEST(wrong == 0u, wrong << " of " << floats.size() << " floats become other halves");
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_HALF_CONVERSIONS_HPP_
