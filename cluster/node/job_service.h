/* SPDX-License-Identifier: Apache-2.0 */
/* job_service.h - mr/'s service in a raftfsd; with main.c the only file here that sees mr/. */
#pragma once

#include "cluster/node/service.h"

extern const struct service job_service;
