//! Nothing but tests, which hold the verdicts of `burgrave-verifier` on TDX and SGX evidence to those of `dcap-qvl`, an
//! independent verifier (MIT).
